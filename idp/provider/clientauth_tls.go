package provider

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Client authentication by TLS client certificates (RFC 8705 section 2). The
// handshake has proven that the sender has the key of the certificate, and that is
// all that is expected of the listener: it asks for certificates and need not
// verify them.
const (
	// AuthTLS is for certificates of a certificate authority.
	AuthTLS = "tls_client_auth"

	// AuthSelfSignedTLS is for certificates that are registered themselves.
	AuthSelfSignedTLS = "self_signed_tls_client_auth"
)

// CertificateSubject names the certificate of a client of AuthTLS (RFC 8705 section
// 2.1.2). Exactly one field is set.
type CertificateSubject struct {
	// DN is the subject of the certificate as RFC 4514 writes it, and as
	// "openssl x509 -subject -nameopt RFC2253" prints it, for example
	// "CN=gateway,O=Example Bank,C=DE". ASCII letters may be of any case.
	DN string

	// DNS is a DNS name among the subject alternative names. No wildcards.
	DNS string

	// URI is a URI among the subject alternative names.
	URI string

	// IP is an IP address among the subject alternative names.
	IP string

	// Email is an e-mail address among the subject alternative names.
	Email string
}

// errWrongCertificate says that the certificate is not the client's.
var errWrongCertificate = errors.New("client certificate is not acceptable")

// usesCertificate reports whether the client authenticates by its certificate.
func (c *client) usesCertificate() bool {
	return c.AuthMethod == AuthTLS || c.AuthMethod == AuthSelfSignedTLS
}

// checkCertificate checks that the connection has the certificate of the client
// (threats B26).
func (p *Provider) checkCertificate(r *http.Request, c *client) error {
	certificate := certificateOf(r)
	switch {
	case c == nil || c.Disabled:
		return errUnknownClient
	case !c.usesCertificate() || certificate == nil:
		return errNoCredentials
	}
	now := p.now()
	if now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
		return fmt.Errorf("%w: it has expired or is not valid yet", errWrongCertificate)
	}
	if c.AuthMethod == AuthSelfSignedTLS {
		return p.checkRegistered(r.Context(), c, certificate)
	}
	if !c.recognizes(certificate) {
		return fmt.Errorf("%w: it is somebody else's", errWrongCertificate)
	}
	return p.checkChain(r.TLS)
}

// checkRegistered checks that the certificate is one of those in the client's JWKS.
// It is compared as a whole, so that no authority is needed (RFC 8705 section 2.2).
func (p *Provider) checkRegistered(ctx context.Context, c *client, certificate *x509.Certificate) error {
	registered := func(keys []jose.JSONWebKey) bool {
		return slices.ContainsFunc(keys, func(key jose.JSONWebKey) bool {
			return len(key.Certificates) > 0 && bytes.Equal(key.Certificates[0].Raw, certificate.Raw)
		})
	}
	keys, err := p.keysOf(ctx, c, registered)
	if err != nil {
		return err
	}
	if registered(keys) {
		return nil
	}
	return fmt.Errorf("%w: it is not registered", errWrongCertificate)
}

// checkChain checks that a trusted authority has issued the certificate for use by
// clients. The roots are those of the configuration and never those of the system,
// by which anybody can get a certificate of any name (threats REG-27586).
func (p *Provider) checkChain(state *tls.ConnectionState) error {
	certificate := state.PeerCertificates[0]
	if p.cfg.ListenerVerifiesClients && !verifiedByListener(state) {
		return fmt.Errorf("%w: the listener has not verified it", errWrongCertificate)
	}
	if p.cfg.ClientRoots == nil {
		// Without roots Verify would take those of the system.
		return fmt.Errorf("%w: there is no authority to verify it with", errWrongCertificate)
	}
	intermediates := x509.NewCertPool()
	for _, other := range state.PeerCertificates[1:] {
		intermediates.AddCert(other)
	}
	_, err := certificate.Verify(x509.VerifyOptions{
		Roots:         p.cfg.ClientRoots,
		Intermediates: intermediates,
		CurrentTime:   p.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errWrongCertificate, err)
	}
	return nil
}

// verifiedByListener reports whether the listener has verified the certificate that
// the client has shown.
func verifiedByListener(state *tls.ConnectionState) bool {
	for _, chain := range state.VerifiedChains {
		if len(chain) > 0 && bytes.Equal(chain[0].Raw, state.PeerCertificates[0].Raw) {
			return true
		}
	}
	return false
}

// compile returns the function that recognizes the certificate.
func (s CertificateSubject) compile() (func(*x509.Certificate) bool, error) {
	given := 0
	for _, value := range []string{s.DN, s.DNS, s.URI, s.IP, s.Email} {
		if value != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, fmt.Errorf("%s needs exactly one name of the certificate", AuthTLS)
	case s.DN != "":
		want, err := parseDN(s.DN)
		if err != nil {
			return nil, fmt.Errorf("reading subject DN %q: %w", s.DN, err)
		}
		return func(c *x509.Certificate) bool {
			subject, err := subjectOf(c)
			return err == nil && want.equal(subject)
		}, nil
	case s.DNS != "":
		if strings.ContainsAny(s.DNS, "*/: ") {
			return nil, fmt.Errorf("%q is not a DNS name", s.DNS)
		}
		return func(c *x509.Certificate) bool {
			return slices.ContainsFunc(c.DNSNames, func(name string) bool { return foldASCII(name) == foldASCII(s.DNS) })
		}, nil
	case s.URI != "":
		want, err := url.Parse(s.URI)
		if err != nil || want.Scheme == "" {
			return nil, fmt.Errorf("%q is not an absolute URI", s.URI)
		}
		return func(c *x509.Certificate) bool {
			return slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return u.String() == want.String() })
		}, nil
	case s.IP != "":
		want, err := netip.ParseAddr(s.IP)
		if err != nil || want.Zone() != "" {
			return nil, fmt.Errorf("%q is not an IP address", s.IP)
		}
		return func(c *x509.Certificate) bool {
			for _, ip := range c.IPAddresses {
				addr, ok := netip.AddrFromSlice(ip)
				if ok && addr.Unmap() == want.Unmap() {
					return true
				}
			}
			return false
		}, nil
	}
	want, ok := foldEmail(s.Email)
	if !ok {
		return nil, fmt.Errorf("%q is not an e-mail address", s.Email)
	}
	return func(c *x509.Certificate) bool {
		return slices.ContainsFunc(c.EmailAddresses, func(email string) bool {
			folded, ok := foldEmail(email)
			return ok && folded == want
		})
	}, nil
}

// foldASCII is strings.ToLower for ASCII alone: no other letter becomes one of
// those that DNS names consist of.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// foldEmail prepares an address for comparison: the host is of any case, what
// stands before it is not (RFC 5280 section 7.5).
func foldEmail(email string) (string, bool) {
	at := strings.LastIndexByte(email, '@')
	if at < 1 || at == len(email)-1 {
		return "", false
	}
	return email[:at] + foldASCII(email[at:]), true
}

// offersTLS reports whether clients are expected to come with certificates.
func (p *Provider) offersTLS() bool {
	if p.cfg.MTLSBaseURL != "" {
		return true
	}
	for _, c := range p.clients {
		if c.usesCertificate() || c.CertificateBound {
			return true
		}
	}
	return false
}

// verifiesChains reports whether there is somebody to verify certificates by.
func (c Config) verifiesChains() bool { return c.ClientRoots != nil }

// validateTLS checks what certificates are verified by.
func (c Config) validateTLS(clients map[string]*client) []error {
	var errs []error
	if c.ClientRoots != nil && c.ClientRoots.Equal(x509.NewCertPool()) {
		errs = append(errs, errors.New("the pool of client certificate authorities is empty"))
	}
	if c.ClientRoots == nil && c.ListenerVerifiesClients {
		errs = append(errs, errors.New("what the listener has verified is verified again, and client certificate authorities are needed for that"))
	}
	for _, client := range clients {
		if client.AuthMethod == AuthTLS && !c.verifiesChains() {
			errs = append(errs, fmt.Errorf("client %q: %s needs a certificate authority; those of the system are not used", client.ID, AuthTLS))
		}
	}
	if c.MTLSBaseURL == "" {
		return errs
	}
	base, err := parseIssuer(c.MTLSBaseURL)
	if err != nil {
		return append(errs, fmt.Errorf("base URL for client certificates: %w", err))
	}
	issuer, err := parseIssuer(c.Issuer)
	if err == nil && (base.Path != issuer.Path || base.Scheme != "https") {
		errs = append(errs, errors.New("the base URL for client certificates must be https and have the path of the issuer"))
	}
	return errs
}

// urls returns the URLs of an endpoint: the one below the issuer, and the one for
// clients with certificates (RFC 8705 section 5).
func (p *Provider) urls(path string) []string {
	urls := []string{p.url(path)}
	if p.cfg.MTLSBaseURL != "" {
		urls = append(urls, p.cfg.MTLSBaseURL+path)
	}
	return urls
}

// certificateOf returns the client certificate of the connection, or nil.
func certificateOf(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}
