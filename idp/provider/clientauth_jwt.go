package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	assertionTypeJWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	// clockSkew is by how much the clock of somebody else may differ.
	clockSkew = 10 * time.Second

	// maxAssertionLife bounds exp, and by it how long a jti is remembered.
	maxAssertionLife = time.Hour

	maxJTI = 256

	kindJTI = "idp.jti"
)

// readAssertion reads a JWT client assertion (RFC 7523 section 2.2). The client
// that it names is not proven yet.
func readAssertion(f *form) (*credentials, error) {
	kind := f.get("client_assertion_type")
	assertion := f.get("client_assertion")
	switch {
	case kind == "" || assertion == "":
		return nil, badRequest("client_assertion and client_assertion_type belong together.")
	case kind != assertionTypeJWT:
		return nil, errors.New("unknown client_assertion_type")
	}
	jwt, err := parseJWT(assertion)
	if err != nil {
		return nil, err
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	err = json.Unmarshal(jwt.payload, &claims)
	if err != nil {
		return nil, fmt.Errorf("reading assertion: %w", err)
	}
	method := AuthPrivateKeyJWT
	if isMACAlg(jwt.header.Alg) {
		method = AuthSecretJWT
	}
	return &credentials{method: method, clientID: claims.Subject, jwt: jwt}, nil
}

// jwtTimes are the claims that bound the life of a JWT from outside.
type jwtTimes struct {
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	IssuedAt  *float64 `json:"iat"`
}

// assertionClaims are the claims of RFC 7523 section 3.
type assertionClaims struct {
	jwtTimes
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	ID       string   `json:"jti"`
}

// checkAssertion verifies a client assertion and uses up its jti.
func (p *Provider) checkAssertion(ctx context.Context, c *client, creds *credentials) error {
	if c == nil || c.Disabled {
		return errUnknownClient
	}
	if c.AuthMethod != creds.method {
		return errWrongMethod
	}
	typ := creds.jwt.header.Typ
	if typ != "" && !strings.EqualFold(typ, "JWT") && !strings.EqualFold(typ, "client-authentication+jwt") {
		return fmt.Errorf("%w: it is of another type", errWrongAssertion)
	}
	err := p.verifyAssertion(ctx, c, creds)
	var refusal *oauthError
	if errors.As(err, &refusal) {
		return refusal
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWrongAssertion, err)
	}
	var claims assertionClaims
	err = json.Unmarshal(creds.jwt.payload, &claims)
	if err != nil {
		return fmt.Errorf("%w: %w", errWrongAssertion, err)
	}
	if claims.Issuer != c.ID || claims.Subject != c.ID {
		return fmt.Errorf("%w: iss or sub is not the client", errWrongAssertion)
	}
	if !p.acceptsAudience(claims.Audience) {
		return fmt.Errorf("%w: it is for somebody else", errWrongAssertion)
	}
	expires, err := claims.check(p.now(), maxAssertionLife)
	if err != nil {
		return fmt.Errorf("%w: %w", errWrongAssertion, err)
	}
	if claims.ID == "" || len(claims.ID) > maxJTI {
		return fmt.Errorf("%w: jti is missing or too long", errWrongAssertion)
	}
	return p.useOnce(ctx, "assertion\x00"+c.ID+"\x00"+claims.ID, expires)
}

// verifyAssertion checks who has made an assertion.
func (p *Provider) verifyAssertion(ctx context.Context, c *client, creds *credentials) error {
	if creds.method == AuthSecretJWT {
		return c.verifyMAC(creds.jwt)
	}
	return p.verifyByClient(ctx, c, creds.jwt, c.jwtAlgs(c.AuthSigningAlg))
}

// acceptsAudience reports whether an assertion is meant for us and for nobody
// else: one with a foreign audience could have been made for another server
// (CVE-2025-27370; CIBA checklist A3).
func (p *Provider) acceptsAudience(aud audience) bool {
	if len(aud) == 0 {
		return false
	}
	for _, a := range aud {
		if !slices.Contains(p.audiences, a) {
			return false
		}
	}
	return true
}

// check checks the times of a JWT and returns when it stops to be good.
func (t *jwtTimes) check(now time.Time, maxLife time.Duration) (time.Time, error) {
	if t.Expires == nil {
		return time.Time{}, errors.New("exp is missing")
	}
	expires := floatTime(*t.Expires)
	switch {
	case !now.Before(expires.Add(clockSkew)):
		return time.Time{}, errors.New("exp has passed")
	case expires.After(now.Add(maxLife + clockSkew)):
		return time.Time{}, errors.New("exp is too far away")
	case t.NotBefore != nil && floatTime(*t.NotBefore).After(now.Add(clockSkew)):
		return time.Time{}, errors.New("nbf is in the future")
	case t.IssuedAt != nil && floatTime(*t.IssuedAt).After(now.Add(clockSkew)):
		return time.Time{}, errors.New("iat is in the future")
	}
	return expires.Add(clockSkew), nil
}

// floatTime turns a NumericDate into a time. What no sane clock shows becomes
// the beginning or the end of time.
func floatTime(seconds float64) time.Time {
	const end = 1 << 40
	switch {
	case !(seconds > 0): // also NaN
		return time.Unix(0, 0)
	case seconds > end:
		return time.Unix(end, 0)
	}
	return time.UnixMilli(int64(seconds * 1000))
}

// useOnce remembers that something was used, until a time. It returns an error
// if it was used before, on whatever node.
func (p *Provider) useOnce(ctx context.Context, what string, until time.Time) error {
	err := p.cfg.Store.Create(ctx, &store.Record{Kind: kindJTI, ID: requestID(what), Expires: until})
	if errors.Is(err, store.ErrExists) {
		return errors.New("jti was used before")
	}
	if err != nil {
		return unavailable(fmt.Errorf("remembering jti: %w", err))
	}
	return nil
}
