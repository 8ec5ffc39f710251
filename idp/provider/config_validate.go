package provider

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
	"time"
)

// Validate reports every mistake that can be found without I/O, joined into one
// error. New calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	_, issuerErr := parseIssuer(c.Issuer)
	errs := []error{issuerErr}
	if c.Store == nil {
		errs = append(errs, errors.New("a store is required"))
	}
	if c.Users == nil {
		errs = append(errs, errors.New("a user store is required"))
	}
	errs = append(errs, c.validateLifetimes()...)
	errs = append(errs, c.Limits.validate(), c.CoolDown.validate())
	for _, alg := range c.SigningAlgs {
		if !isSigningAlg(alg) {
			errs = append(errs, fmt.Errorf("unknown signing algorithm %q", alg))
		}
	}
	for i, key := range c.EncryptionKeys {
		if len(key) != sealKeySize {
			errs = append(errs, fmt.Errorf("encryption key %d has %d bytes, not %d", i, len(key), sealKeySize))
		}
	}
	if c.AssertionAudience != AudienceCore && c.AssertionAudience != AudienceIssuer {
		errs = append(errs, fmt.Errorf("unknown assertion audience policy %q", c.AssertionAudience))
	}
	if c.BindingMessageMax < 0 || c.MaxHeldPolls < 0 || c.MaxPendingPerUser < 0 || c.MaxPendingPerUserAndClient < 0 {
		errs = append(errs, errors.New("limits must not be negative"))
	}
	scopes, err := compileScopes(c.Scopes)
	errs = append(errs, err)
	types, err := compileDetailsTypes(c.DetailsTypes)
	errs = append(errs, err)
	clients, err := compileClients(c.Clients, scopes, types)
	errs = append(errs, err)
	c.applyProfile(clients)
	for _, client := range clients {
		err = c.validateTimes(client)
		if err != nil {
			errs = append(errs, fmt.Errorf("client %q: %w", client.ID, err))
		}
		err = client.checkProfile(collectSigningAlgs(c)[0])
		if err != nil {
			errs = append(errs, fmt.Errorf("client %q: %w", client.ID, err))
		}
		if client.NotificationEndpoint != "" {
			err = checkCallbackURL(client.NotificationEndpoint, c.NotificationNetworks)
			if err != nil {
				errs = append(errs, fmt.Errorf("client %q: notification endpoint: %w", client.ID, err))
			}
		}
		if client.JWKSURI != "" {
			err = checkCallbackURL(client.JWKSURI, c.NotificationNetworks)
			if err != nil {
				errs = append(errs, fmt.Errorf("client %q: JWKS URI: %w", client.ID, err))
			}
		}
	}
	errs = append(errs, c.validateTLS(clients)...)
	_, err = compileHintIssuers(c.HintIssuers)
	errs = append(errs, err)
	return errors.Join(errs...)
}

// applyProfile gives the clients without a profile that of the provider.
func (c Config) applyProfile(clients map[string]*client) {
	for _, client := range clients {
		if client.Profile == "" {
			client.Profile = c.Profile
		}
	}
}

func (c Config) validateLifetimes() []error {
	var errs []error
	if c.MaxRequestLifetime < time.Second || c.MaxRequestLifetime > DefaultMaxRequestLifetime {
		// OWASP ASVS 5.0 6.5.5: an out-of-band request lives ten minutes at most.
		errs = append(errs, errors.New("the longest request lifetime must be between 1s and 600s"))
	}
	if c.RequestLifetime < time.Second || c.RequestLifetime > c.MaxRequestLifetime {
		errs = append(errs, fmt.Errorf("the request lifetime must be between 1s and %s", c.MaxRequestLifetime))
	}
	if !isInterval(c.Interval) {
		errs = append(errs, errInterval)
	}
	if c.LongPoll > DefaultLongPoll {
		// CIBA Core 1.0 section 10.1: an answer comes within 30 seconds.
		errs = append(errs, errors.New("a poll must not be held for more than 25s"))
	}
	if c.AccessTokenLifetime < time.Second || c.IDTokenLifetime < time.Second || c.RefreshTokenLifetime < time.Second {
		errs = append(errs, errors.New("token lifetimes must be at least 1s"))
	}
	if c.DPoPNonceLifetime != 0 && (c.DPoPNonceLifetime < minNonceLifetime || c.DPoPNonceLifetime > maxNonceLifetime) {
		errs = append(errs, errors.New("the lifetime of DPoP nonces must be between 10s and 1h"))
	}
	if c.History < 0 || c.History > maxHistory {
		errs = append(errs, errors.New("the history must be kept for ten years at most"))
	}
	return append(errs, c.validateRotation()...)
}

// validateTimes checks the times that a client has for itself.
func (c Config) validateTimes(client *client) error {
	if client.RequestLifetime != 0 && (client.RequestLifetime < time.Second || client.RequestLifetime > c.MaxRequestLifetime) {
		return fmt.Errorf("the request lifetime must be between 1s and %s", c.MaxRequestLifetime)
	}
	if client.Interval != 0 && !isInterval(client.Interval) {
		return errInterval
	}
	return nil
}

// errInterval says that an interval between polls can't be kept, or told.
var errInterval = errors.New("the interval must be whole seconds between 1s and 60s")

func isInterval(d time.Duration) bool {
	return d >= time.Second && d <= time.Minute && d%time.Second == 0
}

// parseIssuer checks an issuer identifier (OpenID Connect Discovery 1.0 section
// 3) and returns it parsed.
func parseIssuer(issuer string) (*url.URL, error) {
	if issuer == "" {
		return nil, errors.New("an issuer is required")
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, fmt.Errorf("parsing issuer: %w", err)
	}
	switch {
	case u.Host == "" || u.Opaque != "" || u.User != nil:
		return nil, fmt.Errorf("issuer %q is not a plain URL with a host", issuer)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(issuer, "#"):
		return nil, fmt.Errorf("issuer %q has a query or a fragment", issuer)
	case strings.HasSuffix(issuer, "/"):
		return nil, fmt.Errorf("issuer %q ends with a slash", issuer)
	case u.Path != "" && (path.Clean(u.Path) != u.Path || u.RawPath != ""):
		return nil, fmt.Errorf("issuer %q has a path that is not canonical", issuer)
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("issuer %q must be https (http is taken for loopback hosts only)", issuer)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
