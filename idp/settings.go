package idp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/provider"
)

// settings are everything that shapes an instance, with secrets resolved. Its
// fields are exported to be hashed, and shown to nobody.
type settings struct {
	Issuer              string
	Store               string
	RequestLifetime     time.Duration
	MaxRequestLifetime  time.Duration
	Interval            time.Duration
	AccessTokenLifetime time.Duration
	IDTokenLifetime     time.Duration
	SessionIdle         time.Duration
	SessionLifetime     time.Duration
	ProofAge            time.Duration
	ACR                 string
	SigningAlgs         []string
	EncryptionKeys      [][]byte
	AssertionAudience   string
	Scopes              []provider.Scope
	Clients             []provider.Client
	Users               []provider.User
	Brand               approval.Brand
}

// resolve reads all secrets and key files that the config names. The second
// result are warnings for the operator.
func (h *Handler) resolve(repl *caddy.Replacer) (*settings, []string, error) {
	s := &settings{
		Issuer:              h.Issuer,
		RequestLifetime:     time.Duration(h.RequestLifetime),
		MaxRequestLifetime:  time.Duration(h.MaxRequestLifetime),
		Interval:            time.Duration(h.Interval),
		AccessTokenLifetime: time.Duration(h.AccessTokenLifetime),
		IDTokenLifetime:     time.Duration(h.IDTokenLifetime),
		SessionIdle:         time.Duration(h.SessionIdle),
		SessionLifetime:     time.Duration(h.SessionLifetime),
		ProofAge:            time.Duration(h.ProofAge),
		ACR:                 h.ACR,
		SigningAlgs:         h.SigningAlgs,
		AssertionAudience:   h.AssertionAudience,
		Brand:               h.brand(),
	}
	if s.RequestLifetime == 0 && s.MaxRequestLifetime != 0 {
		s.RequestLifetime = min(provider.DefaultRequestLifetime, s.MaxRequestLifetime)
	}
	for _, configured := range h.EncryptionKeys {
		key, err := encryptionKey(repl, configured)
		if err != nil {
			return nil, nil, err
		}
		s.EncryptionKeys = append(s.EncryptionKeys, key)
	}
	for _, scope := range h.Scopes {
		s.Scopes = append(s.Scopes, scope.settings())
	}
	var warnings []string
	for _, configured := range h.Clients {
		client, more, err := configured.settings(repl)
		if err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, more...)
		s.Clients = append(s.Clients, client)
	}
	for _, configured := range h.Users {
		user, err := configured.settings(repl)
		if err != nil {
			return nil, nil, err
		}
		s.Users = append(s.Users, user)
	}
	if !sameCost(s.Users) {
		warnings = append(warnings, "password hashes of users differ in algorithm or cost; the time of an answer tells them from users that do not exist")
	}
	return s, warnings, nil
}

// brand is the configured brand with its default.
func (h *Handler) brand() approval.Brand {
	var brand approval.Brand
	if h.Brand != nil {
		brand.Name, brand.Accent = h.Brand.Name, h.Brand.Accent
	}
	if brand.Name == "" {
		u, err := url.Parse(h.Issuer)
		if err == nil {
			brand.Name = u.Hostname()
		}
	}
	return brand
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

// key is a hash of the settings: two configs that do not differ in it share an
// instance.
func (s *settings) key() (string, error) {
	encoded, err := json.Marshal(s)
	if err != nil {
		return "", errors.New("the config cannot be encoded as JSON; look for unusual claims of users")
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:]), nil
}

// acrValues are the authentication context classes that an approval can have.
func (s *settings) acrValues() []string {
	if s.ACR == "" {
		return nil
	}
	return []string{s.ACR}
}

// fakePassword is a hash that costs as much to compare as the users' hashes.
func (s *settings) fakePassword() []byte {
	if len(s.Users) == 0 {
		return fakeHash("")
	}
	return fakeHash(s.Users[0].PasswordHash)
}

// sameCost reports whether all users' passwords take the same time to check.
func sameCost(users []provider.User) bool {
	for _, user := range users {
		if string(fakeHash(user.PasswordHash)) != string(fakeHash(users[0].PasswordHash)) {
			return false
		}
	}
	return true
}
