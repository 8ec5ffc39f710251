package caddyciba

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Where the client of an issuer that no named provider describes comes from.
const (
	defaultClientID     = "{env.CIBA_CLIENT_ID}"
	defaultClientSecret = "{env.CIBA_CLIENT_SECRET}"
)

// Provider is an OpenID Provider with CIBA and the client as which the gateway
// is registered there.
type Provider struct {
	// Issuer is the provider's issuer URL, exactly as its discovery document
	// and its ID Tokens give it. It is an https URL; http is accepted for
	// loopback hosts only. It cannot contain placeholders, user information, a
	// query or a fragment. Required.
	Issuer string `json:"issuer,omitempty"`

	// ClientID is the client identifier that the gateway was registered with.
	// Placeholders are resolved when the configuration is loaded. Default:
	// `{env.CIBA_CLIENT_ID}`.
	ClientID string `json:"client_id,omitempty"`

	// ClientSecret authenticates the gateway by client_secret_basic. It should
	// be a placeholder, `{env.…}` or `{file.…}`, which is resolved when the
	// configuration is loaded; a secret written out here can be read by
	// everybody who can read the configuration and is warned about. Default:
	// `{env.CIBA_CLIENT_SECRET}`, unless there is a client key.
	ClientSecret string `json:"client_secret,omitempty"`

	// ClientKey authenticates the gateway by private_key_jwt. It is a
	// placeholder, `{file.…}` or `{env.…}`, for a private key as a JSON Web Key
	// whose `alg` names the signature algorithm. It excludes a client secret.
	ClientKey string `json:"client_key,omitempty"`
}

// check finds every mistake that can be found without secrets and network.
func (p *Provider) check() error {
	if p.Issuer == "" {
		return errors.New("missing issuer")
	}
	err := checkIssuer(p.Issuer)
	if err != nil {
		return err
	}
	if p.ClientSecret != "" && p.ClientKey != "" {
		return errors.New("client_secret and client_key exclude each other")
	}
	if p.ClientKey != "" && !isReference(p.ClientKey) {
		return errors.New("client_key must be a placeholder such as {file./run/secrets/ciba.jwk}")
	}
	return nil
}

// withDefaults fills in the client that the environment describes.
func (p Provider) withDefaults() Provider {
	if p.ClientID == "" {
		p.ClientID = defaultClientID
	}
	if p.ClientSecret == "" && p.ClientKey == "" {
		p.ClientSecret = defaultClientSecret
	}
	return p
}

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
