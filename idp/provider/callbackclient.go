package provider

import (
	"crypto/x509"
	"net/http"
	"net/netip"
)

// NewCallbackClient returns an HTTP client for calling addresses that come from a
// configuration, such as those of webhooks: the one by which clients are pinged.
// It connects to public addresses and to those in the opened networks, which it
// checks behind name resolution, each time; it follows no redirects, uses no proxy,
// and gives up after five seconds. roots are the certificate authorities to trust,
// nil for those of the system. The client is safe for concurrent use.
func NewCallbackClient(opened []netip.Prefix, roots *x509.CertPool) *http.Client {
	return newCallbackClient(opened, roots)
}
