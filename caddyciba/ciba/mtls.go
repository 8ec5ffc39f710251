package ciba

import (
	"context"
	"errors"
)

// TLSClientAuth returns the method tls_client_auth (RFC 8705 section 2.1): the
// certificate that Config.HTTPClient presents is the proof, and the identifier
// goes into the form. Requests go to the provider's mTLS aliases where it has
// them.
func TLSClientAuth() Authenticator {
	return certificateAuth("tls_client_auth")
}

// SelfSignedTLSClientAuth returns the method self_signed_tls_client_auth (RFC
// 8705 section 2.2). It differs from TLSClientAuth in how the provider trusts
// the certificate only.
func SelfSignedTLSClientAuth() Authenticator {
	return certificateAuth("self_signed_tls_client_auth")
}

type certificateAuth string

func (a certificateAuth) Method() string { return string(a) }

func (a certificateAuth) Authenticate(_ context.Context, r *Credentials) error {
	r.Form.Set("client_id", r.ClientID)
	return nil
}

// mtlsUse says which requests present a certificate, and so go to an alias.
type mtlsUse struct {
	all    bool // the certificate is how the client authenticates
	tokens bool // tokens are bound to it
}

func mtlsUseOf(cfg *Config) (mtlsUse, error) {
	method := cfg.Auth.Method()
	use := mtlsUse{
		all:    method == "tls_client_auth" || method == "self_signed_tls_client_auth",
		tokens: cfg.CertificateBoundTokens,
	}
	if (use.all || use.tokens) && cfg.HTTPClient == nil {
		return use, errors.New("an HTTP client with a certificate is needed")
	}
	return use, nil
}

func (u mtlsUse) start(md *Metadata) string {
	return alias(u.all, md.MTLS.BackchannelAuthenticationEndpoint, md.BackchannelAuthenticationEndpoint)
}

func (u mtlsUse) token(md *Metadata) string {
	return alias(u.all || u.tokens, md.MTLS.TokenEndpoint, md.TokenEndpoint)
}

func (u mtlsUse) revocation(md *Metadata) string {
	return alias(u.all, md.MTLS.RevocationEndpoint, md.RevocationEndpoint)
}

func alias(use bool, special, plain string) string {
	if use && special != "" {
		return special
	}
	return plain
}
