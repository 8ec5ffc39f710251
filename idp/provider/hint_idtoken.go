package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkIDTokenHint returns the subject of an ID Token that we have issued to the
// client. One that has expired is good: it says who is meant, and does not prove
// that anybody is there (OpenID Connect Core 1.0 section 3.1.2.1; CIBA checklist
// A7). So is one that was signed by a key that is retired.
func (p *Provider) checkIDTokenHint(set *keySet, c *client, token string) (string, error) {
	jwt, err := parseJWT(token)
	if err != nil {
		return "", err
	}
	if jwt.header.Typ != "" && !strings.EqualFold(jwt.header.Typ, "JWT") {
		return "", errors.New("JWT is not an ID Token")
	}
	err = jwt.verify(set.known, signingAlgs)
	if err != nil {
		return "", err
	}
	var claims struct {
		Issuer   string   `json:"iss"`
		Subject  string   `json:"sub"`
		Audience audience `json:"aud"`
	}
	err = json.Unmarshal(jwt.payload, &claims)
	if err != nil {
		return "", fmt.Errorf("reading ID Token: %w", err)
	}
	switch {
	case claims.Issuer != p.cfg.Issuer:
		return "", errors.New("ID Token is not ours")
	case !slices.Contains(claims.Audience, c.ID):
		return "", errors.New("ID Token was issued to another client")
	case !isSubject(claims.Subject):
		return "", errors.New("ID Token has no subject")
	}
	return claims.Subject, nil
}
