package bank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// accessTokenAlgs is what the bank takes as a signature, whatever a token says.
var accessTokenAlgs = []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.EdDSA, jose.RS256}

// Identity verifies JWT access tokens (RFC 9068) of one issuer with the keys
// that the issuer publishes. It is safe for concurrent use.
type Identity struct {
	issuer   string
	audience string
	client   *http.Client
	now      func() time.Time

	mu   sync.Mutex
	keys oidc.KeySet // nil until discovery has worked once
}

// NewIdentity returns a verifier for tokens of the issuer. A non-empty audience
// must be among the token's. It uses no network before the first token. A nil
// client means one with a timeout of 10 seconds, a nil now means time.Now.
func NewIdentity(issuer, audience string, client *http.Client, now func() time.Time) *Identity {
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	if now == nil {
		now = time.Now
	}
	return &Identity{issuer: issuer, audience: audience, client: client, now: now}
}

// Verify returns the claims of a token if its signature, type, issuer, audience
// and times are right. Its errors say what is wrong and never hold the token.
func (i *Identity) Verify(ctx context.Context, token string) (map[string]any, error) {
	err := checkType(token)
	if err != nil {
		return nil, err
	}
	keys, err := i.keySet(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding the issuer's keys: %w", err)
	}
	payload, err := keys.VerifySignature(ctx, token)
	if err != nil {
		return nil, errors.New("token signature does not verify")
	}
	var registered struct {
		Issuer    string   `json:"iss"`
		Audience  audience `json:"aud"`
		Expiry    int64    `json:"exp"`
		NotBefore int64    `json:"nbf"`
	}
	err = json.Unmarshal(payload, &registered)
	if err != nil {
		return nil, errors.New("token claims cannot be read")
	}
	now := i.now().Unix()
	switch {
	case registered.Issuer != i.issuer:
		return nil, errors.New("token is from another issuer")
	case registered.Expiry <= now:
		return nil, errors.New("token has expired")
	case registered.NotBefore > now:
		return nil, errors.New("token is not valid yet")
	case i.audience != "" && !slices.Contains(registered.Audience, i.audience):
		return nil, errors.New("token is for another audience")
	}
	claims := make(map[string]any)
	err = json.Unmarshal(payload, &claims)
	if err != nil {
		return nil, errors.New("token claims cannot be read")
	}
	return claims, nil
}

// checkType refuses everything but an access token that is signed with a known
// algorithm: an ID Token of the same issuer must not open an API (RFC 9068
// section 4).
func checkType(token string) error {
	jws, err := jose.ParseSignedCompact(token, accessTokenAlgs)
	if err != nil {
		return errors.New("token is not a signed JWT")
	}
	typ, _ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if typ != "at+jwt" {
		return errors.New("token is not an access token")
	}
	return nil
}

// keySet finds the issuer's keys by discovery when they are first needed, and
// again at the next token if that failed. The set itself fetches a key that it
// does not know.
func (i *Identity) keySet(ctx context.Context) (oidc.KeySet, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.keys != nil {
		return i.keys, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, i.client), i.issuer)
	if err != nil {
		return nil, err
	}
	var metadata struct {
		JWKSURI string `json:"jwks_uri"`
	}
	err = provider.Claims(&metadata)
	if err != nil {
		return nil, err
	}
	// The key set outlives this request: it keeps the client, not the deadline.
	i.keys = oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), i.client), metadata.JWKSURI)
	return i.keys, nil
}

// audience is a claim that may be a string or a list of strings (RFC 7519
// section 4.1.3).
type audience []string

// UnmarshalJSON reads both forms.
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}
