package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// accessTokenType is the typ header of RFC 9068 section 2.1.
const accessTokenType = "at+jwt"

// accessTokenClaims are the claims of RFC 9068 section 2.2.
type accessTokenClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	ID       string   `json:"jti"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope"`
	AuthTime int64    `json:"auth_time"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`

	// Details are the approved authorization details (RFC 9396 section 9.1).
	Details json.RawMessage `json:"authorization_details,omitempty"`

	// Confirmation is the key that the sender must show, if any.
	Confirmation *confirmation `json:"cnf,omitempty"`

	// Transaction is the public id of the request, so that what happens with
	// the token can be traced to the approval (RFC 8417 section 2.2).
	Transaction string `json:"txn"`
}

// accessToken makes the access token of an approved request.
func (p *Provider) accessToken(ctx context.Context, set *keySet, i issue, now time.Time) (string, error) {
	key := set.active[p.signingAlgs[0]]
	if key == nil {
		return "", errors.New("there is no key for access tokens")
	}
	h := i.request
	jti, err := randomToken(p.cfg.Rand, 16)
	if err != nil {
		return "", err
	}
	claims := accessTokenClaims{
		Issuer:      p.cfg.Issuer,
		Subject:     h.Subject,
		Audience:    p.audienceOf(i.targets),
		Expires:     now.Add(p.cfg.AccessTokenLifetime).Unix(),
		IssuedAt:    now.Unix(),
		ID:          jti,
		ClientID:    h.Client,
		Scope:       joinScope(i.scope),
		AuthTime:    h.AuthTime,
		ACR:         h.ACR,
		AMR:         h.AMR,
		Transaction: h.id,
		Details:     i.details,
	}
	if !i.cnf.none() {
		claims.Confirmation = &i.cnf
	}
	extra, err := p.resourceClaims(ctx, i)
	if err != nil {
		return "", err
	}
	if len(extra) == 0 {
		return key.access.sign(claims)
	}
	merged, err := mergeClaims(extra, claims)
	if err != nil {
		return "", err
	}
	return key.access.sign(merged)
}

// audienceOf returns the resource servers that a token is for, and the issuer
// itself for the userinfo endpoint.
func (p *Provider) audienceOf(targets []string) audience {
	aud := audience(slices.Clone(targets))
	if !slices.Contains(aud, p.cfg.Issuer) {
		aud = append(aud, p.cfg.Issuer)
	}
	return aud
}

// resourceClaims returns the user's claims that belong into the access token:
// those of scopes of a resource server.
func (p *Provider) resourceClaims(ctx context.Context, i issue) (map[string]any, error) {
	var scopes []Scope
	for _, s := range p.describeScopes(i.scope) {
		if s.Audience != "" && len(s.Claims) > 0 {
			scopes = append(scopes, s)
		}
	}
	if len(scopes) == 0 {
		return nil, nil
	}
	return p.claimsFor(ctx, i.user, i.client.ID, ClaimsAccessToken, scopes)
}

func addClaims(to map[string]any, user *User, names []string) {
	for _, name := range names {
		value, ok := user.claim(name)
		if ok {
			to[name] = value
		}
	}
}

// mergeClaims puts further claims beside those of the protocol, which win.
func mergeClaims(extra map[string]any, claims accessTokenClaims) (map[string]any, error) {
	data, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("encoding claims: %w", err)
	}
	var protocol map[string]json.RawMessage
	err = json.Unmarshal(data, &protocol)
	if err != nil {
		return nil, fmt.Errorf("decoding claims: %w", err)
	}
	merged := maps.Clone(extra)
	for name, value := range protocol {
		merged[name] = value
	}
	return merged, nil
}

// checkAccessToken verifies an access token of ours. Whom it is for, and whether
// it was revoked, is for the caller to look at.
func (p *Provider) checkAccessToken(set *keySet, token string) (*accessTokenClaims, error) {
	jwt, err := parseJWT(token)
	if err != nil {
		return nil, err
	}
	if jwt.header.Typ != accessTokenType {
		return nil, errors.New("JWT is not an access token")
	}
	err = jwt.verify(set.public, signingAlgs)
	if err != nil {
		return nil, err
	}
	var claims accessTokenClaims
	err = json.Unmarshal(jwt.payload, &claims)
	if err != nil {
		return nil, fmt.Errorf("reading access token: %w", err)
	}
	switch {
	case claims.Issuer != p.cfg.Issuer:
		return nil, errors.New("access token is not ours")
	case !p.now().Before(time.Unix(claims.Expires, 0)):
		return nil, errors.New("access token has expired")
	}
	return &claims, nil
}
