package ciba

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Authenticator proves to the provider that a request comes from the client. It
// is the extension point for methods that this package does not have. An
// implementation must be safe for concurrent use.
type Authenticator interface {
	// Authenticate adds the proof to r.Form or r.Header. It is called once for
	// each request, so that a proof can be used once. An error stops the request.
	Authenticate(ctx context.Context, r *Credentials) error

	// Method is the name under which a provider registers the method
	// (token_endpoint_auth_method), for example "private_key_jwt".
	Method() string
}

// Credentials is a request that waits for its proof.
type Credentials struct {
	// Issuer is the provider's issuer identifier from the configuration.
	Issuer string

	// ClientID is the client's identifier.
	ClientID string

	// Form is the body of the request.
	Form url.Values

	// Header is the header of the request.
	Header http.Header

	// Now is the time of the request.
	Now time.Time

	// Rand is a source of random bytes.
	Rand io.Reader
}

// ClientSecretBasic returns the method client_secret_basic (RFC 6749 section
// 2.3.1): identifier and secret in the Authorization header, each
// percent-encoded first as the RFC demands.
func ClientSecretBasic(secret string) Authenticator {
	return &secretBasic{secret: secret}
}

type secretBasic struct {
	redacted
	secret string
}

func (a *secretBasic) Method() string { return "client_secret_basic" }

func (a *secretBasic) Authenticate(_ context.Context, r *Credentials) error {
	if a.secret == "" {
		return errNoSecret
	}
	pair := url.QueryEscape(r.ClientID) + ":" + url.QueryEscape(a.secret)
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	return nil
}

// ClientSecretPost returns the method client_secret_post: identifier and secret
// as form parameters. Prefer any other method that the provider offers.
func ClientSecretPost(secret string) Authenticator {
	return &secretPost{secret: secret}
}

type secretPost struct {
	redacted
	secret string
}

func (a *secretPost) Method() string { return "client_secret_post" }

func (a *secretPost) Authenticate(_ context.Context, r *Credentials) error {
	if a.secret == "" {
		return errNoSecret
	}
	r.Form.Set("client_id", r.ClientID)
	r.Form.Set("client_secret", a.secret)
	return nil
}

// errNoSecret also stops a secret whose placeholder resolved to nothing.
var errNoSecret = errors.New("client secret is empty")

// redacted, embedded by what holds a secret, keeps the secret out of whatever is
// formatted.
type redacted struct{}

// Format writes "[redacted]" for every verb.
func (redacted) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "[redacted]")
}

// MarshalText keeps the secret out of JSON and of structured logs.
func (redacted) MarshalText() ([]byte, error) {
	return []byte("[redacted]"), nil
}
