package idp

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// Bounds of the options of a Handler.
const (
	maxRequestLifetime  = provider.DefaultMaxRequestLifetime
	maxInterval         = time.Minute
	maxTokenLifetime    = time.Hour
	maxRefreshLifetime  = 365 * 24 * time.Hour
	maxKeyRotation      = 366 * 24 * time.Hour
	maxSessionLifetime  = 24 * time.Hour
	maxEvidenceLifetime = 3650 * 24 * time.Hour
	maxHistory          = 3650 * 24 * time.Hour
	maxBindingMessage   = 1024
)

// standardDetails are the types of authorization details that the provider knows
// without being told.
var standardDetails = []string{"http_request"}

// check finds every mistake that can be found without resolving placeholders.
func (h *Handler) check() error {
	for _, check := range []func() error{
		func() error { return checkIssuer(h.Issuer) },
		h.checkOptions, h.checkClientVerification, h.checkEntities, h.checkClients,
	} {
		err := check()
		if err != nil {
			return err
		}
	}
	return nil
}

// checkOptions finds what is wrong with the options that stand for themselves. A
// Caddyfile is checked after each option, so that options which are still to come
// must not be missed here.
func (h *Handler) checkOptions() error {
	for _, check := range []func() error{
		h.checkLifetimes, h.checkEncryptionKeys, h.checkAssertionAudience, h.checkNetworks, h.checkMTLSBaseURL,
		func() error { return checkChoice("profile", h.Profile, profiles) },
		func() error { return checkEach("signing_algs", h.SigningAlgs, signingAlgs) },
		h.checkBindingMessage, h.checkUsers, h.checkAudit,
	} {
		err := check()
		if err != nil {
			return err
		}
	}
	if h.Limits != nil {
		err := h.Limits.check()
		if err != nil {
			return err
		}
	}
	if h.ACR != nil {
		err := h.ACR.check()
		if err != nil {
			return err
		}
	}
	if h.Brand != nil {
		return h.Brand.check()
	}
	return nil
}

// checkEntities finds what is wrong with scopes, details, hint issuers and users.
func (h *Handler) checkEntities() error {
	err := checkAll("scope", h.Scopes, func(s *Scope) string { return s.Name }, (*Scope).check)
	if err != nil {
		return err
	}
	err = checkAll("details", h.Details, func(d *DetailsType) string { return d.Name }, (*DetailsType).check)
	if err != nil {
		return err
	}
	err = checkAll("sign_in_with", h.SignInWith, func(s *SignInWith) string { return s.Name }, (*SignInWith).check)
	if err != nil {
		return err
	}
	err = checkAll("hint issuer", h.HintIssuers, func(i *HintIssuer) string { return i.Issuer }, (*HintIssuer).check)
	if err != nil {
		return err
	}
	return checkAll("user", h.Users, func(u *User) string { return loginKey(u.Username) }, (*User).check)
}

// checkClients finds what is wrong with clients.
func (h *Handler) checkClients() error {
	err := checkAll("client", h.Clients, func(c *Client) string { return c.ID }, (*Client).check)
	if err != nil {
		return err
	}
	for _, client := range h.Clients {
		err = errors.Join(h.checkScopes(client), h.checkDetails(client))
		if err != nil {
			return err
		}
	}
	return nil
}

// checkAll checks each entry of a list, and that no two have the same name.
func checkAll[T any](kind string, entries []*T, name func(*T) string, check func(*T) error) error {
	for i, entry := range entries {
		if entry == nil {
			return fmt.Errorf("the list of %s entries has a null in it", kind)
		}
		err := check(entry)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(entries[:i], func(other *T) bool { return name(other) == name(entry) }) {
			return errTwice(kind, name(entry))
		}
	}
	return nil
}

// checkEach is checkChoice for a list.
func checkEach(option string, values, known []string) error {
	for i, value := range values {
		err := checkChoice(option, value, known)
		if err != nil {
			return err
		}
		if value == "" || slices.Contains(values[:i], value) {
			return fmt.Errorf("%s has an empty or repeated value '%s'", option, value)
		}
	}
	return nil
}

// checkScopes refuses scopes of a client that are not defined.
func (h *Handler) checkScopes(client *Client) error {
	for _, name := range client.Scopes {
		known := slices.ContainsFunc(h.Scopes, func(s *Scope) bool { return s.Name == name })
		if !known && !slices.Contains(standardScopes, name) {
			return fmt.Errorf("client '%s': scope '%s' is not defined; add: scope %s", client.ID, name, name)
		}
	}
	return nil
}

// checkDetails refuses types of authorization details of a client that are not
// defined.
func (h *Handler) checkDetails(client *Client) error {
	for _, name := range client.Details {
		known := slices.ContainsFunc(h.Details, func(d *DetailsType) bool { return d.Name == name })
		if !known && !slices.Contains(standardDetails, name) {
			return fmt.Errorf("client '%s': details '%s' is not defined; add: details %s", client.ID, name, name)
		}
	}
	return nil
}

// checkLifetimes refuses durations outside of their bounds. Zero stands for
// the default.
func (h *Handler) checkLifetimes() error {
	bounds := []struct {
		name     string
		value    caddy.Duration
		min, max time.Duration
	}{
		{"request_lifetime", h.RequestLifetime, time.Second, maxRequestLifetime},
		{"max_request_lifetime", h.MaxRequestLifetime, time.Second, maxRequestLifetime},
		{"interval", h.Interval, time.Second, maxInterval},
		{"long_poll", max(h.LongPoll, 0), time.Second, provider.DefaultLongPoll},
		{"access_token_lifetime", h.AccessTokenLifetime, time.Second, maxTokenLifetime},
		{"id_token_lifetime", h.IDTokenLifetime, time.Second, maxTokenLifetime},
		{"refresh_token_lifetime", h.RefreshTokenLifetime, time.Second, maxRefreshLifetime},
		{"key_rotation", max(h.KeyRotation, 0), time.Hour, maxKeyRotation},
		{"dpop_nonce_lifetime", h.DPoPNonceLifetime, 10 * time.Second, time.Hour},
		{"session_idle", h.SessionIdle, time.Minute, maxSessionLifetime},
		{"session_lifetime", h.SessionLifetime, time.Minute, maxSessionLifetime},
		{"history", max(h.History, 0), time.Hour, maxHistory},
		{"proof_age", h.ProofAge, time.Second, maxSessionLifetime},
		{"evidence_lifetime", h.EvidenceLifetime, 24 * time.Hour, maxEvidenceLifetime},
	}
	for _, b := range bounds {
		value := time.Duration(b.value)
		if value != 0 && (value < b.min || value > b.max) {
			return fmt.Errorf("%s is %s, but must be from %s to %s", b.name, value, b.min, b.max)
		}
	}
	if h.MaxRequestLifetime != 0 && h.RequestLifetime > h.MaxRequestLifetime {
		return fmt.Errorf("request_lifetime is %s, which is longer than max_request_lifetime %s", time.Duration(h.RequestLifetime), time.Duration(h.MaxRequestLifetime))
	}
	if time.Duration(h.Interval)%time.Second != 0 {
		return fmt.Errorf("interval is %s, but must be whole seconds", time.Duration(h.Interval))
	}
	return nil
}

// checkBindingMessage refuses a length that no page has room for.
func (h *Handler) checkBindingMessage() error {
	if h.BindingMessageMax < 0 || h.BindingMessageMax > maxBindingMessage {
		return fmt.Errorf("binding_message_max is %d, but must be from 1 to %d", h.BindingMessageMax, maxBindingMessage)
	}
	return nil
}

// checkNetworks refuses networks that are none.
func (h *Handler) checkNetworks() error {
	_, err := parseNetworks("notification_networks", h.NotificationNetworks)
	return err
}

// checkClientVerification refuses to rely on the listener alone, which may take the
// authorities of the system.
func (h *Handler) checkClientVerification() error {
	if h.ListenerVerifiesClients && len(h.ClientCAFiles) == 0 {
		return errors.New("listener_verifies_clients needs client_ca: what the listener has verified is verified again by it")
	}
	return nil
}

// checkUsers refuses two sources of users: one could have users with the subjects
// of the other.
func (h *Handler) checkUsers() error {
	if h.UsersRaw != nil && len(h.Users) > 0 {
		return errors.New("user and users_from exclude each other: customers come from one of them")
	}
	return nil
}

// checkMTLSBaseURL refuses what no endpoint can be at. That its path is the
// issuer's is for the provider to check.
func (h *Handler) checkMTLSBaseURL() error {
	if h.MTLSBaseURL == "" {
		return nil
	}
	u, err := url.Parse(h.MTLSBaseURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("mtls_base_url '%s' must be a plain https URL", h.MTLSBaseURL)
	}
	return nil
}

// checkEncryptionKeys refuses keys that stand in the config itself.
func (h *Handler) checkEncryptionKeys() error {
	for _, key := range h.EncryptionKeys {
		if !isReference(key) {
			return errNotReference
		}
	}
	return nil
}

// checkAssertionAudience refuses policies that do not exist.
func (h *Handler) checkAssertionAudience() error {
	switch h.AssertionAudience {
	case "", provider.AudienceCore, provider.AudienceIssuer:
		return nil
	}
	return fmt.Errorf("assertion_audience '%s' must be %s or %s", h.AssertionAudience, provider.AudienceCore, provider.AudienceIssuer)
}
