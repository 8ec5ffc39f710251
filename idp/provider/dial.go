package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// callbackTimeout bounds one call to a client, with everything that goes with it.
const callbackTimeout = 5 * time.Second

// closedNetworks are the networks that no client is called in unless the operator
// has opened them: our own host, private and shared networks, and those by which
// IPv6 leads back into IPv4.
var closedNetworks = mustPrefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/3", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16",
	"fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

func mustPrefixes(list ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(list))
	for i, s := range list {
		prefixes[i] = netip.MustParsePrefix(s)
	}
	return prefixes
}

// isOpenAddress reports whether clients may be called at the address.
func isOpenAddress(addr netip.Addr, opened []netip.Prefix) bool {
	addr = addr.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	return addr.IsValid() && (slices.ContainsFunc(opened, in) || !slices.ContainsFunc(closedNetworks, in))
}

// newCallbackClient returns the HTTP client by which clients are called. It checks
// each address when it connects, behind name resolution, so that a name can't be
// turned to another address in between. It follows no redirects and uses no proxy
// (CIBA checklist P3, P7).
func newCallbackClient(opened []netip.Prefix, roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{
		Timeout: callbackTimeout,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			target, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("reading address: %w", err)
			}
			if !isOpenAddress(target.Addr(), opened) {
				return errors.New("address is in a closed network")
			}
			return nil
		},
	}
	return &http.Client{
		Timeout: callbackTimeout,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    callbackTimeout,
			MaxResponseHeaderBytes: 16 << 10,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkCallbackURL checks the URL of an endpoint of a client when it is configured.
func checkCallbackURL(raw string, opened []netip.Prefix) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("parsing URL: %w", err)
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return errors.New("it must be a plain https URL")
	}
	if u.Port() != "" {
		port, err := strconv.Atoi(u.Port())
		if err != nil || port > 65535 || port != 443 && port < 1024 {
			return errors.New("the port must be 443 or above 1023")
		}
	}
	if u.Hostname() == "localhost" && !isOpenAddress(netip.MustParseAddr("127.0.0.1"), opened) {
		return errors.New("it is in a closed network")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err == nil && !isOpenAddress(addr, opened) {
		return errors.New("it is in a closed network")
	}
	return nil
}
