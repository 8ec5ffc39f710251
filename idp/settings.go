package idp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/provider"
)

// defaultHistory is how long customers can look up what they decided.
const defaultHistory = 90 * 24 * time.Hour

// settings are everything that shapes an instance, with secrets resolved. Its
// fields are exported to be hashed, and shown to nobody.
type settings struct {
	Issuer              string
	Store               string
	Guests              []json.RawMessage
	RequestLifetime     time.Duration
	MaxRequestLifetime  time.Duration
	Interval            time.Duration
	AccessTokenLifetime time.Duration
	IDTokenLifetime     time.Duration
	SessionIdle         time.Duration
	SessionLifetime     time.Duration
	ProofAge            time.Duration
	History             time.Duration
	ACR                 approval.Classes
	EvidenceLifetime    time.Duration
	SigningAlgs         []string
	EncryptionKeys      [][]byte
	Audit               *caddyaudit.Options
	AssertionAudience   string

	Profile                 string
	RefreshTokenLifetime    time.Duration
	DPoPNonceLifetime       time.Duration
	KeyRotation             time.Duration
	LongPoll                time.Duration
	BindingMessageMax       int
	ClientCAs               [][]byte
	ListenerVerifiesClients bool
	MTLSBaseURL             string
	NotificationNetworks    []netip.Prefix
	NotificationCAs         [][]byte
	InsecureTestApprovals   bool
	MaskUnknownUsers        bool
	NoMatchCode             bool
	Limits                  Limits

	Scopes      []provider.Scope
	Details     []provider.DetailsType
	HintIssuers []provider.HintIssuer
	SignInWith  []signInWith
	Clients     []provider.Client
	Users       []provider.User
	Brand       approval.Brand
	Templates   map[string][]byte
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
		History:             time.Duration(h.History),
		ACR:                 h.ACR.settings(),
		EvidenceLifetime:    time.Duration(h.EvidenceLifetime),
		SigningAlgs:         h.SigningAlgs,
		AssertionAudience:   h.AssertionAudience,

		Profile:                 h.Profile,
		RefreshTokenLifetime:    time.Duration(h.RefreshTokenLifetime),
		DPoPNonceLifetime:       time.Duration(h.DPoPNonceLifetime),
		KeyRotation:             time.Duration(h.KeyRotation),
		LongPoll:                time.Duration(h.LongPoll),
		BindingMessageMax:       h.BindingMessageMax,
		ListenerVerifiesClients: h.ListenerVerifiesClients,
		MTLSBaseURL:             h.MTLSBaseURL,
		InsecureTestApprovals:   h.InsecureTestApprovals,
		MaskUnknownUsers:        h.MaskUnknownUsers,
		NoMatchCode:             h.NoMatchCode,
		Brand:                   h.brand(),
	}
	if s.RequestLifetime == 0 && s.MaxRequestLifetime != 0 {
		s.RequestLifetime = min(provider.DefaultRequestLifetime, s.MaxRequestLifetime)
	}
	switch {
	case s.History == 0:
		s.History = defaultHistory
	case s.History < 0:
		s.History = 0
	}
	if h.Limits != nil {
		s.Limits = *h.Limits
	}
	var err error
	s.Templates, err = h.Brand.readTemplates(repl)
	if err != nil {
		return nil, nil, err
	}
	s.NotificationNetworks, err = parseNetworks("notification_networks", h.NotificationNetworks)
	if err != nil {
		return nil, nil, err
	}
	err = s.readKeys(repl, h)
	if err != nil {
		return nil, nil, err
	}
	for _, scope := range h.Scopes {
		s.Scopes = append(s.Scopes, scope.settings())
	}
	for _, details := range h.Details {
		s.Details = append(s.Details, details.settings())
	}
	warnings, err := s.readEntities(repl, h)
	if err != nil {
		return nil, nil, err
	}
	return s, append(warnings, s.warnings()...), nil
}

// readKeys reads the provider's own secrets and the certificates that it trusts.
func (s *settings) readKeys(repl *caddy.Replacer, h *Handler) error {
	s.Audit = h.Audit
	for _, configured := range h.EncryptionKeys {
		key, err := encryptionKey(repl, configured)
		if err != nil {
			return err
		}
		s.EncryptionKeys = append(s.EncryptionKeys, key)
	}
	var err error
	s.ClientCAs, err = readCertificates(repl, "client_ca", h.ClientCAFiles)
	if err != nil {
		return err
	}
	s.NotificationCAs, err = readCertificates(repl, "notification_ca", h.NotificationCAFiles)
	return err
}

// readEntities reads the keys and secrets of hint issuers, clients and users. The
// first result are warnings for the operator.
func (s *settings) readEntities(repl *caddy.Replacer, h *Handler) ([]string, error) {
	var warnings []string
	for _, configured := range h.SignInWith {
		with, err := configured.settings(repl)
		if err != nil {
			return nil, err
		}
		s.SignInWith = append(s.SignInWith, with)
	}
	for _, configured := range h.HintIssuers {
		issuer, err := configured.settings(repl)
		if err != nil {
			return nil, err
		}
		s.HintIssuers = append(s.HintIssuers, issuer)
	}
	for _, configured := range h.Clients {
		client, more, err := configured.settings(repl)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, more...)
		s.Clients = append(s.Clients, client)
	}
	for _, configured := range h.Users {
		user, err := configured.settings(repl)
		if err != nil {
			return nil, err
		}
		s.Users = append(s.Users, user)
	}
	return warnings, nil
}

// warnings are about what is allowed and most likely not meant.
func (s *settings) warnings() []string {
	var warnings []string
	if !sameCost(s.Users) {
		warnings = append(warnings, "password hashes of users differ in algorithm or cost; the time of an answer tells them from users that do not exist")
	}
	codes := slices.ContainsFunc(s.Users, func(u provider.User) bool { return u.UserCodeHash != "" })
	if codes && !s.asksForUserCodes() {
		warnings = append(warnings, "users have a user_code, but no client asks for it; add user_code to a client")
	}
	pushes := slices.ContainsFunc(s.Clients, func(c provider.Client) bool { return c.DeliveryMode == provider.DeliveryPush })
	if pushes && len(s.EncryptionKeys) == 0 {
		warnings = append(warnings, "tokens that are pushed lie in the store, unencrypted, until the client has taken them; set encryption_key")
	}
	for _, network := range s.NotificationNetworks {
		if network.Overlaps(linkLocal) {
			warnings = append(warnings, "notification_networks opens "+network.String()+", in which clouds have services that hand out credentials")
		}
	}
	return warnings
}

// linkLocal is where clouds have their metadata services.
var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

// asksForUserCodes reports whether there is a client that does.
func (s *settings) asksForUserCodes() bool {
	return slices.ContainsFunc(s.Clients, func(c provider.Client) bool { return c.UserCode })
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

// provider are the settings as the provider takes them.
func (s *settings) provider() (provider.Config, error) {
	config := provider.Config{
		Issuer:                     s.Issuer,
		Profile:                    s.Profile,
		Scopes:                     s.Scopes,
		DetailsTypes:               s.Details,
		HintIssuers:                s.HintIssuers,
		Clients:                    s.Clients,
		RequestLifetime:            s.RequestLifetime,
		MaxRequestLifetime:         s.MaxRequestLifetime,
		Interval:                   s.Interval,
		LongPoll:                   s.LongPoll,
		MaxHeldPolls:               s.Limits.HeldPolls,
		BindingMessageMax:          s.BindingMessageMax,
		MaxPendingPerUser:          s.Limits.PendingPerUser,
		MaxPendingPerUserAndClient: s.Limits.PendingPerUserAndClient,
		AccessTokenLifetime:        s.AccessTokenLifetime,
		IDTokenLifetime:            s.IDTokenLifetime,
		RefreshTokenLifetime:       s.RefreshTokenLifetime,
		DPoPNonceLifetime:          s.DPoPNonceLifetime,
		KeyRotation:                s.KeyRotation,
		History:                    s.History,
		Limits:                     s.Limits.rates(),
		CoolDown:                   s.Limits.CoolDown.settings(),
		ClientIP:                   clientIP,
		SigningAlgs:                s.SigningAlgs,
		EncryptionKeys:             s.EncryptionKeys,
		AssertionAudience:          s.AssertionAudience,
		ACRValues:                  s.classes(),
		ListenerVerifiesClients:    s.ListenerVerifiesClients,
		MTLSBaseURL:                s.MTLSBaseURL,
		NotificationNetworks:       s.NotificationNetworks,
		InsecureTestApprovals:      s.InsecureTestApprovals,
		MaskUnknownUsers:           s.MaskUnknownUsers,
		NoMatchCode:                s.NoMatchCode,
	}
	if s.asksForUserCodes() {
		config.CompareUserCode = comparePassword
		config.DecoyUserCodeHash = s.fakeUserCode()
	}
	var err error
	config.ClientRoots, err = certPool(s.ClientCAs)
	if err != nil {
		return config, err
	}
	config.NotificationRoots, err = certPool(s.NotificationCAs)
	return config, err
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

// fakePassword is a hash that costs as much to compare as the users' hashes.
func (s *settings) fakePassword() []byte {
	return fakeHash(firstPassword(s.Users))
}

// firstPassword is the hash of the first user who has a password, or empty.
func firstPassword(users []provider.User) string {
	for _, user := range users {
		if user.PasswordHash != "" {
			return user.PasswordHash
		}
	}
	return ""
}

// fakeUserCode is the user code of those who do not exist: a hash that costs as much
// to compare as those of the customers, none if none of them has a code. Customers
// from elsewhere are taken to have codes.
func (s *settings) fakeUserCode() string {
	if len(s.Users) == 0 {
		return string(fakeHash(""))
	}
	for _, user := range s.Users {
		if user.UserCodeHash != "" {
			return string(fakeHash(user.UserCodeHash))
		}
	}
	return ""
}

// sameCost reports whether all users' passwords take the same time to check.
func sameCost(users []provider.User) bool {
	first := firstPassword(users)
	for _, user := range users {
		if user.PasswordHash != "" && string(fakeHash(user.PasswordHash)) != string(fakeHash(first)) {
			return false
		}
	}
	return true
}
