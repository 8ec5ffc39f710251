package provider

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
)

// confirmation is the cnf claim: the key that the sender of a token must show
// (RFC 7800). RFC 9449 section 6.1 has jkt, RFC 8705 section 3.1 x5t#S256.
type confirmation struct {
	JKT string `json:"jkt,omitempty"`
	X5T string `json:"x5t#S256,omitempty"`
}

// none reports whether there is nothing to be shown.
func (c confirmation) none() bool { return c == confirmation{} }

// errNoCertificate is the answer to a client that must come with a certificate
// and has none (CIBA checklist T10).
var errNoCertificate = badRequest("The client must use its TLS client certificate.")

// readConfirmation returns the keys that the client shows with a request to the
// endpoint at path, and refuses a client that has to show one and does not.
func (p *Provider) readConfirmation(r *http.Request, c *client, path string) (confirmation, error) {
	var cnf confirmation
	if c.CertificateBound {
		cnf.X5T = certificateThumbprint(r)
		if cnf.X5T == "" {
			return cnf, errNoCertificate
		}
	}
	proof, err := dpopHeader(r)
	if err != nil {
		return cnf, err
	}
	if proof == "" {
		if c.DPoPBound {
			return cnf, errDPoP.because(errors.New("there is no proof"))
		}
		return cnf, nil
	}
	cnf.JKT, err = p.checkDPoP(r.Context(), c.jwtAlgs(""), proof, r.Method, path, "")
	return cnf, err
}

// certificateThumbprint returns the SHA-256 of the client certificate of the
// connection. Whether it is trusted is for the TLS server and the authentication
// method to say: here it stands for a key only.
func certificateThumbprint(r *http.Request) string {
	certificate := certificateOf(r)
	if certificate == nil {
		return ""
	}
	sum := sha256.Sum256(certificate.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// startConfirmation returns the keys that a client shows with an authentication
// request. It need not show any; but what it shows it must show again when it
// redeems the request (threats T15).
func (p *Provider) startConfirmation(r *http.Request, c *client) (confirmation, error) {
	var cnf confirmation
	if c.CertificateBound {
		cnf.X5T = certificateThumbprint(r)
	}
	proof, err := dpopHeader(r)
	if err != nil || proof == "" {
		return cnf, err
	}
	if c.DeliveryMode == DeliveryPush {
		// Nobody shows a key when tokens are pushed (CIBA checklist X4).
		return cnf, badRequest("Tokens that are pushed can not be bound to a key.")
	}
	cnf.JKT, err = p.checkDPoP(r.Context(), c.jwtAlgs(""), proof, r.Method, pathBackchannel, "")
	return cnf, err
}

// continues reports whether the keys shown now are those shown at the start.
func (c confirmation) continues(start confirmation) bool {
	return (start.JKT == "" || start.JKT == c.JKT) && (start.X5T == "" || start.X5T == c.X5T)
}

// tokenType is the token_type of a token with the confirmation.
func (c confirmation) tokenType() string {
	if c.JKT != "" {
		return "DPoP"
	}
	return "Bearer"
}
