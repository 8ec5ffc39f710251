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

// authenticate returns the client that has sent the request (RFC 6749 section
// 2.3; CIBA checklist A2). Whatever fails, the answer is invalid_client with the
// same bytes.
func (p *Provider) authenticate(r *http.Request, f *form) (*client, error) {
	creds, err := p.readCredentials(r, f)
	if err != nil {
		return nil, err
	}
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
	var refusal *oauthError
	if errors.As(err, &refusal) {
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
	var found []*credentials
	if len(r.Header["Authorization"]) > 1 {
		return nil, badRequest("There is more than one Authorization header.")
	}
	if len(r.Header["Authorization"]) == 1 {
		basic, err := readBasic(r)
		if err != nil {
			return nil, p.invalidClient(r, err)
		}
		found = append(found, basic)
	}
	clientID := f.get("client_id")
	secret := f.get("client_secret")
	if secret != "" {
		found = append(found, &credentials{method: AuthSecretPost, clientID: clientID, secret: secret})
	}
	if f.get("client_assertion") != "" || f.get("client_assertion_type") != "" {
		assertion, err := readAssertion(f)
		if err != nil {
			var refusal *oauthError
			if errors.As(err, &refusal) {
				return nil, refusal
			}
			return nil, p.invalidClient(r, err)
		}
		found = append(found, assertion)
	}
	switch {
	case len(found) == 0 && clientID != "":
		// RFC 8705 section 2: the certificate, and client_id to tell whose.
		return &credentials{clientID: clientID}, nil
	case len(found) == 0:
		return nil, p.invalidClient(r, errNoCredentials)
	case len(found) > 1:
		return nil, badRequest("The request uses more than one way to authenticate the client.")
	case clientID != "" && clientID != found[0].clientID:
		return nil, p.invalidClient(r, errors.New("client_id is not who authenticates"))
	}
	return found[0], nil
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
