package idp

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// errNoIssuer says what is missing and why it has no default.
var errNoIssuer = errors.New("an issuer is required: the https URL by which clients know this provider, for example https://id.example.com")

// checkIssuer accepts the issuer identifiers that OpenID Connect Discovery 1.0
// section 3 allows, and of those only spellings that a client can compare byte
// by byte: clients reject a provider whose metadata spells its issuer in any
// other way than they were told.
func checkIssuer(issuer string) error {
	if issuer == "" {
		return errNoIssuer
	}
	if strings.ContainsAny(issuer, "{}") {
		return fmt.Errorf("issuer '%s' contains a placeholder; it must be written out, because it must never depend on a request or a machine", issuer)
	}
	u, err := url.Parse(issuer)
	if err != nil {
		// The text of the parser's error would repeat a password.
		return errors.New("issuer is not a URL")
	}
	if u.User != nil {
		return errors.New("issuer must not contain a user name or password")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	case u.Scheme == "http":
		return fmt.Errorf("issuer '%s' must use https; plain http is taken for loopback hosts only", issuer)
	default:
		return fmt.Errorf("issuer '%s' must be an https URL", issuer)
	}
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("issuer '%s' has no host", issuer)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(issuer, "#"):
		return fmt.Errorf("issuer '%s' must have neither query nor fragment", issuer)
	case u.Host != strings.ToLower(u.Host):
		return fmt.Errorf("issuer '%s' must spell its host in lower case", issuer)
	case strings.HasSuffix(u.Host, ":") || u.Port() == defaultPort(u.Scheme):
		return fmt.Errorf("issuer '%s' must leave out the default port", issuer)
	case strings.HasSuffix(u.Path, "/"):
		return fmt.Errorf("issuer '%s' must not end with a slash", issuer)
	case u.Path != "" && (path.Clean(u.Path) != u.Path || u.RawPath != ""):
		return fmt.Errorf("issuer '%s' must have a plain path", issuer)
	case u.String() != issuer:
		return fmt.Errorf("issuer '%s' must be spelled as '%s'", issuer, u)
	}
	return nil
}

// isLoopback tells hosts that no other machine can stand in for.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// defaultPort is the port that a URL of the scheme has without naming it.
func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}
