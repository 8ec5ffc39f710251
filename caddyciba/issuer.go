package caddyciba

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// isIssuer tells an issuer URL from the name of a provider.
func isIssuer(s string) bool {
	return strings.Contains(s, "://")
}

// checkIssuer refuses an issuer that could lead a request with our credentials
// to a place that the operator did not write down, or over an open line.
// OpenID Connect Discovery 1.0 section 3 allows neither query nor fragment.
func checkIssuer(issuer string) error {
	if strings.ContainsAny(issuer, "{}") {
		return fmt.Errorf("issuer %q must not contain placeholders", issuer)
	}
	u, err := url.Parse(issuer)
	if err != nil {
		// The text of url.Parse's error repeats a password.
		return errors.New("issuer is not a URL")
	}
	switch {
	case u.User != nil:
		return fmt.Errorf("issuer at %s must not contain user information", u.Host)
	case u.Opaque != "" || u.Hostname() == "":
		return fmt.Errorf("issuer %q has no host", issuer)
	case strings.ContainsAny(issuer, "?#"):
		return fmt.Errorf("issuer %q must have neither query nor fragment", issuer)
	case strings.ContainsFunc(issuer, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }):
		return fmt.Errorf("issuer %q contains characters that do not belong in a URL", issuer)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("issuer %q must be https; http is accepted for loopback hosts only", issuer)
	default:
		return fmt.Errorf("issuer %q must be an https URL", issuer)
	}
}

// isLoopback reports whether a host never leaves this machine. Names below
// localhost are not among them: a name server may be asked about those, and could
// answer anything.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	if ip != nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}
