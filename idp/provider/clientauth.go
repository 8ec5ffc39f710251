package provider

import (
	"errors"
	"net/http"
	"net/url"
)

// credentials is what a request says about who sends it.
type credentials struct {
	method   string // empty: nothing but the TLS client certificate, if there is one
	clientID string
	secret   string
	jwt      *parsedJWT
}

// Causes of a failed client authentication. They go to the log: the client is
// told the same for all of them.
var (
	errNoCredentials  = errors.New("no client authentication")
	errUnknownClient  = errors.New("client is unknown or disabled")
	errWrongMethod    = errors.New("client is registered for another authentication method")
	errWrongSecret    = errors.New("client secret is wrong")
	errWrongAssertion = errors.New("client assertion is not acceptable")
)

// authenticate returns the client that has sent the request with these credentials
// (RFC 6749 section 2.3; CIBA checklist A2). Whatever fails, the answer is
// invalid_client with the same bytes.
func (p *Provider) authenticate(r *http.Request, creds *credentials) (*client, error) {
	var err error
	c := p.clients[creds.clientID]
	switch creds.method {
	case AuthSecretBasic, AuthSecretPost:
		err = checkSecret(c, creds.secret)
	case AuthPrivateKeyJWT, AuthSecretJWT:
		err = p.checkAssertion(r.Context(), c, creds)
	default:
		err = p.checkCertificate(r, c)
	}
	if err == nil && creds.method != "" && c.AuthMethod != creds.method {
		err = errWrongMethod
	}
	if err == nil {
		return c, nil
	}
	refusal, ok := errors.AsType[*oauthError](err)
	if ok {
		return nil, refusal
	}
	return nil, p.invalidClient(r, err)
}

// invalidClient is the one answer to a failed client authentication.
func (p *Provider) invalidClient(r *http.Request, cause error) *oauthError {
	e := &oauthError{
		status:      http.StatusUnauthorized,
		code:        codeInvalidClient,
		description: "Client authentication failed.",
		cause:       cause,
	}
	if r.Header.Get("Authorization") != "" {
		e.challenge = `Basic realm="` + p.cfg.Issuer + `"`
	}
	return e
}

// readCredentials finds the one authentication method that the request uses. Two
// at once are refused (RFC 6749 section 2.3).
func (p *Provider) readCredentials(r *http.Request, f *form) (*credentials, error) {
	var found *credentials
	ways := 0
	if len(r.Header["Authorization"]) > 1 {
		return nil, badRequest("There is more than one Authorization header.")
	}
	if len(r.Header["Authorization"]) == 1 {
		basic, err := readBasic(r)
		if err != nil {
			return nil, p.invalidClient(r, err)
		}
		found, ways = basic, 1
	}
	clientID := f.get("client_id")
	secret := f.get("client_secret")
	if secret != "" {
		found = &credentials{method: AuthSecretPost, clientID: clientID, secret: secret}
		ways++
	}
	if f.get("client_assertion") != "" || f.get("client_assertion_type") != "" {
		assertion, err := readAssertion(f)
		if err != nil {
			refusal, ok := errors.AsType[*oauthError](err)
			if ok {
				return nil, refusal
			}
			return nil, p.invalidClient(r, err)
		}
		found = assertion
		ways++
	}
	switch {
	case ways == 0 && clientID != "":
		// RFC 8705 section 2: the certificate, and client_id to tell whose.
		return &credentials{clientID: clientID}, nil
	case ways == 0:
		return nil, p.invalidClient(r, errNoCredentials)
	case ways > 1:
		return nil, badRequest("The request uses more than one way to authenticate the client.")
	case clientID != "" && clientID != found.clientID:
		return nil, p.invalidClient(r, errors.New("client_id is not who authenticates"))
	}
	return found, nil
}

// readBasic reads client_secret_basic. Id and secret are form-encoded before they
// are put together (RFC 6749 section 2.3.1).
func readBasic(r *http.Request) (*credentials, error) {
	rawID, rawSecret, ok := r.BasicAuth()
	if !ok {
		return nil, errors.New("authorization header is not Basic")
	}
	id, idErr := url.QueryUnescape(rawID)
	secret, secretErr := url.QueryUnescape(rawSecret)
	if idErr != nil || secretErr != nil {
		return nil, errors.New("credentials are not percent-encoded")
	}
	return &credentials{method: AuthSecretBasic, clientID: id, secret: secret}, nil
}
