package ciba

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// requestLife is how long a signed request is valid. FAPI-CIBA allows an hour;
// it is sent at once.
const requestLife = 5 * time.Minute

// requestSigner signs authentication requests.
type requestSigner struct {
	redacted
	signer jose.Signer
	alg    string
}

// newRequestSigner returns nil if there is no key.
func newRequestSigner(key *jose.JSONWebKey, alg string) (*requestSigner, error) {
	if key == nil {
		return nil, nil
	}
	signer, err := newSigner(key, alg, "oauth-authz-req+jwt")
	if err != nil {
		return nil, fmt.Errorf("signed requests: %w", err)
	}
	return &requestSigner{signer: signer, alg: signingAlg(key, alg)}, nil
}

// sign moves all parameters into a signed request (CIBA Core section 7.1.1). Only
// what authenticates the client may stand beside it.
func (c *Client) sign(md *Metadata, form url.Values) (url.Values, error) {
	if c.signer == nil {
		return form, nil
	}
	if !slices.Contains(md.RequestSigningAlgs, c.signer.alg) {
		return nil, &Error{Op: "start", Code: CodeUnsupported, Err: fmt.Errorf("provider takes no requests signed by %s", c.signer.alg)}
	}
	claims, err := requestClaims(form)
	if err != nil {
		return nil, err
	}
	id, err := randomText(c.rand)
	if err != nil {
		return nil, invalidArgument("start", "signing request: %w", err)
	}
	now := c.now()
	claims["iss"] = c.clientID
	claims["aud"] = c.issuer
	claims["jti"] = id
	claims["iat"] = now.Unix()
	claims["nbf"] = now.Add(-c.skew).Unix()
	claims["exp"] = now.Add(requestLife).Unix()
	signed, err := signJSON(c.signer.signer, claims)
	if err != nil {
		return nil, invalidArgument("start", "signing request: %w", err)
	}
	return url.Values{"request": {signed}}, nil
}

// requestClaims turns parameters into claims: numbers and structures as JSON,
// everything else as a string.
func requestClaims(form url.Values) (map[string]any, error) {
	claims := map[string]any{}
	for name, values := range form {
		switch name {
		case "requested_expiry":
			seconds, err := strconv.ParseInt(values[0], 10, 64)
			if err != nil {
				return nil, invalidArgument("start", "requested expiry: %w", err)
			}
			claims[name] = seconds
		case "authorization_details", "claims":
			claims[name] = json.RawMessage(values[0])
		default:
			if len(values) == 1 {
				claims[name] = values[0]
			} else {
				claims[name] = values
			}
		}
	}
	return claims, nil
}
