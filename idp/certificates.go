package idp

import (
	"errors"

	"github.com/caddyciba/gateway/idp/provider"
)

// Certificate says how to tell a client's TLS certificate from those of others that
// the same authorities have issued (RFC 8705 section 2.1.2). Exactly one name is
// given.
type Certificate struct {
	// The subject as RFC 4514 writes it and `openssl x509 -subject -nameopt
	// RFC2253` prints it, for example "CN=gateway,O=Example Bank,C=DE".
	SubjectDN string `json:"subject_dn,omitempty"`

	// A DNS name among the subject alternative names. No wildcards.
	SanDNS string `json:"san_dns,omitempty"`

	// A URI among the subject alternative names.
	SanURI string `json:"san_uri,omitempty"`

	// An IP address among the subject alternative names.
	SanIP string `json:"san_ip,omitempty"`

	// An e-mail address among the subject alternative names.
	SanEmail string `json:"san_email,omitempty"`
}

// errCertificateNames says how many names a certificate has to have.
var errCertificateNames = errors.New("certificate requires exactly one of subject_dn, san_dns, san_uri, san_ip and san_email")

// check refuses a certificate with no name, and one with several: it would not be
// clear whether one or all of them must fit.
func (c *Certificate) check() error {
	given := 0
	for _, name := range []string{c.SubjectDN, c.SanDNS, c.SanURI, c.SanIP, c.SanEmail} {
		if name != "" {
			given++
		}
	}
	if given != 1 {
		return errCertificateNames
	}
	return nil
}

// settings returns the names as the provider takes them.
func (c *Certificate) settings() provider.CertificateSubject {
	return provider.CertificateSubject{DN: c.SubjectDN, DNS: c.SanDNS, URI: c.SanURI, IP: c.SanIP, Email: c.SanEmail}
}
