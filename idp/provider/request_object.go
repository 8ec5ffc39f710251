package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxRequestLife bounds how far ahead exp, and how long ago nbf, of a signed
// request may lie (FAPI-CIBA section 5.2.2).
const maxRequestLife = time.Hour

// authenticationParameters are the parameters of a backchannel authentication
// request. If the request is signed they belong into the JWT (CIBA Core 1.0
// section 7.1.1).
var authenticationParameters = []string{
	"scope", "client_notification_token", "acr_values", "login_hint_token", "id_token_hint", "login_hint",
	"binding_message", "user_code", "requested_expiry", "authorization_details", "resource", "request_context", "request_uri", "match_code",
}

// errSignedRequest is the answer to every fault of a signed request: CIBA Core
// section 13 has no other code for it (CIBA checklist S6).
var errSignedRequest = badRequest("The signed request is not acceptable.")

// unwrapRequest returns the parameters of a request: those of its signed request
// object if there is one, else those of the body.
func (p *Provider) unwrapRequest(ctx context.Context, c *client, f *form) (*form, error) {
	token := f.get("request")
	if token == "" {
		if c.requireSigned() {
			return nil, badRequest("The client must send signed requests.")
		}
		return f, nil
	}
	inner, err := p.checkRequestObject(ctx, c, token)
	var refusal *oauthError
	if errors.As(err, &refusal) {
		return nil, refusal
	}
	if err != nil {
		return nil, errSignedRequest.because(err)
	}
	for _, name := range authenticationParameters {
		outside := f.all(name)
		if len(outside) > 0 && !slices.Equal(outside, inner.all(name)) {
			return nil, errSignedRequest.because(fmt.Errorf("%s is outside of the JWT", name))
		}
	}
	return inner, nil
}

// requireSigned reports whether unsigned requests of the client are refused.
func (c *client) requireSigned() bool {
	return c.fapi() || c.RequireSignedRequests || c.RequestSigningAlg != ""
}

// checkRequestObject verifies a request object and returns its parameters (CIBA
// checklist S1, S2, S3, S4, S5, S6, S7).
func (p *Provider) checkRequestObject(ctx context.Context, c *client, token string) (*form, error) {
	jwt, err := parseJWT(token)
	if err != nil {
		return nil, err
	}
	typ := jwt.header.Typ
	if typ != "" && !strings.EqualFold(typ, "JWT") && !strings.EqualFold(typ, "oauth-authz-req+jwt") {
		return nil, errors.New("JWT is of another type")
	}
	err = p.verifyByClient(ctx, c, jwt, c.jwtAlgs(c.RequestSigningAlg))
	if err != nil {
		return nil, err
	}
	var claims struct {
		jwtTimes
		Issuer   string   `json:"iss"`
		Audience audience `json:"aud"`
		ID       string   `json:"jti"`
		ClientID *string  `json:"client_id"`
	}
	err = json.Unmarshal(jwt.payload, &claims)
	if err != nil {
		return nil, fmt.Errorf("reading request object: %w", err)
	}
	now := p.now()
	switch {
	case claims.Issuer != c.ID || claims.ClientID != nil && *claims.ClientID != c.ID:
		return nil, errors.New("request object is another client's")
	case !slices.Contains(claims.Audience, p.cfg.Issuer):
		return nil, errors.New("request object is for somebody else")
	case claims.NotBefore == nil || claims.IssuedAt == nil:
		return nil, errors.New("nbf or iat is missing")
	case floatTime(*claims.NotBefore).Before(now.Add(-maxRequestLife - clockSkew)):
		return nil, errors.New("nbf is too long ago")
	case claims.ID == "" || len(claims.ID) > maxJTI:
		return nil, errors.New("jti is missing or too long")
	}
	expires, err := claims.check(now, maxRequestLife)
	if err != nil {
		return nil, err
	}
	f, err := requestParameters(jwt.payload)
	if err != nil {
		return nil, err
	}
	return f, p.useOnce(ctx, "request\x00"+c.ID+"\x00"+claims.ID, expires)
}

// requestParameters turns the claims of a request object into parameters, as they
// would stand in a body.
func requestParameters(payload []byte) (*form, error) {
	var claims map[string]json.RawMessage
	err := json.Unmarshal(payload, &claims)
	if err != nil {
		return nil, fmt.Errorf("reading request object: %w", err)
	}
	f := &form{signed: true}
	for _, name := range authenticationParameters {
		raw, ok := claims[name]
		if !ok {
			continue
		}
		values, err := parameterValues(name, raw)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		for _, value := range values {
			if !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0 && !checksItself(name) {
				return nil, fmt.Errorf("%s has bytes that are not allowed", name)
			}
			f.params = append(f.params, param{name: name, value: value})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if slices.Contains(authenticationParameters, name) || slices.Contains(otherParameters, name) {
			continue
		}
		// Policies get to see what we don't know, as text. The rest is ignored.
		values, err := parameterValues(name, claims[name])
		if err == nil && utf8.ValidString(values[0]) {
			f.params = append(f.params, param{name: name, value: values[0]})
		}
	}
	return f, nil
}

// parameterValues returns the values of one claim. Most are strings. The expiry
// may also be a number (CIBA Core 1.0 section 7.1.1), a resource also an array of
// strings (RFC 8707), and what is JSON in a body stands here as it is.
func parameterValues(name string, raw json.RawMessage) ([]string, error) {
	var text string
	err := json.Unmarshal(raw, &text)
	isText := err == nil && string(raw) != "null"
	switch name {
	case "requested_expiry":
		if !isText {
			return []string{string(raw)}, nil // readExpiry takes digits only
		}
	case "resource":
		var list []string
		err := json.Unmarshal(raw, &list)
		if err == nil && string(raw) != "null" {
			return list, nil
		}
	case "authorization_details", "request_context":
		if !isText {
			return []string{string(raw)}, nil
		}
	}
	if !isText {
		return nil, errors.New("value is not a string")
	}
	return []string{text}, nil
}
