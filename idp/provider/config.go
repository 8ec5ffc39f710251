package provider

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// Defaults of [Config], used for values that are zero.
const (
	DefaultRequestLifetime            = 300 * time.Second
	DefaultMaxRequestLifetime         = 600 * time.Second
	DefaultInterval                   = 5 * time.Second
	DefaultAccessTokenLifetime        = 300 * time.Second
	DefaultRefreshTokenLifetime       = 24 * time.Hour
	DefaultIDTokenLifetime            = 300 * time.Second
	DefaultLongPoll                   = 25 * time.Second
	DefaultMaxHeldPolls               = 10000
	DefaultBindingMessageMax          = 128
	DefaultMaxPendingPerUser          = 5
	DefaultMaxPendingPerUserAndClient = 3
)

// Audience policies of [Config.AssertionAudience].
const (
	// AudienceCore accepts the issuer, the token endpoint and the backchannel
	// authentication endpoint, as CIBA Core 1.0 section 7.1 demands.
	AudienceCore = "core"

	// AudienceIssuer accepts the issuer alone, as FAPI 2.0 demands.
	AudienceIssuer = "issuer"
)

// Config is what a [Provider] is made of. The zero value of every field but
// Issuer, Store and Users is usable. New copies what it keeps: changing a Config
// afterwards has no effect.
type Config struct {
	// Issuer is the issuer identifier, and the base of all endpoint URLs. It
	// is an https URL without query, fragment or slash at the end; plain http
	// is taken for loopback hosts only. Required.
	Issuer string

	// Store keeps requests, keys and replay records. Required.
	Store store.Store

	// Users resolves hints and subjects. Required.
	Users UserStore

	// Clients are the registered clients. Ids must be unique.
	Clients []Client

	// Scopes are the scopes that clients may be allowed. The standard scopes
	// openid, profile, email, phone and address need no entry; an entry of the
	// same name replaces the built-in one.
	Scopes []Scope

	// HintIssuers are those whose login_hint_tokens are trusted. Default: none,
	// and login_hint_token is refused.
	HintIssuers []HintIssuer

	// LongPoll is how long the token endpoint holds a poll of a pending request
	// that asks for it by the header "Prefer: wait=SECONDS" (RFC 7240), or whose
	// client has Client.LongPoll. The answer comes as soon as the user decides.
	// At most and by default 25s; negative: never.
	LongPoll time.Duration

	// MaxHeldPolls bounds how many polls are held at a time. Those above it are
	// answered at once. Default: 10000.
	MaxHeldPolls int

	// DetailsTypes are the types of authorization_details (RFC 9396) that clients
	// may ask for, besides http_request.
	DetailsTypes []DetailsType

	// CompareUserCode compares a user code with User.UserCodeHash. Without it user
	// codes are neither asked for nor looked at.
	CompareUserCode func(hash, code []byte) (bool, error)

	// MTLSBaseURL is where clients that have TLS client certificates find the
	// endpoints, as mtls_endpoint_aliases of the discovery document (RFC 8705
	// section 5): an https URL with the path of the issuer, whose listener asks
	// for client certificates. Whether that listener verifies them does not
	// matter; if it requires them, all clients on it must have one. Default:
	// none, and certificates are taken at the ordinary endpoints only.
	MTLSBaseURL string

	// ClientRoots are the certificate authorities that may issue certificates
	// to clients of AuthTLS. The authorities of the system are never used, and
	// revocation lists are not looked at: Client.Disabled locks a client out.
	// Required for AuthTLS, unless ListenerVerifiesClients.
	ClientRoots *x509.CertPool

	// ListenerVerifiesClients leaves the verification of certificates to the
	// TLS listener: the chains that it has verified are taken, and a
	// certificate without one is refused.
	ListenerVerifiesClients bool

	// NotificationNetworks opens networks to pings, pushes and the fetching of keys,
	// for clients whose endpoint is in a private network or on the same host.
	// Clients are called nowhere else but at public addresses.
	NotificationNetworks []netip.Prefix

	// NotificationRoots are the certificate authorities that client notification
	// endpoints and JWKS URIs are verified with. Default: those of the system.
	NotificationRoots *x509.CertPool

	// RequestLifetime is how long an authentication request waits for a
	// decision if the client asks for nothing else. Default: 300s.
	RequestLifetime time.Duration

	// MaxRequestLifetime bounds RequestLifetime and requested_expiry; longer
	// wishes are cut to it. Default: 600s, which is also the most.
	MaxRequestLifetime time.Duration

	// Interval is how long a client waits between two polls, in whole seconds
	// from 1s to 60s. Default: 5s.
	Interval time.Duration

	// AccessTokenLifetime is how long access tokens are good. Default: 300s.
	AccessTokenLifetime time.Duration

	// RefreshTokenLifetime is how long a client can refresh its tokens after the
	// user has approved. Refreshing does not prolong it. Default: 24h.
	RefreshTokenLifetime time.Duration

	// IDTokenLifetime is how long ID Tokens are good. Default: 300s.
	IDTokenLifetime time.Duration

	// DPoPNonceLifetime, if set, asks for a nonce in DPoP proofs, and is how long a
	// nonce is good at least; three times that at most. A client that has none is
	// refused with use_dpop_nonce and a nonce (RFC 9449 section 8), and tries
	// again: proofs can't be made ahead then, for one more round trip now and
	// then. From 10s to 1h. Default: none are asked for.
	DPoPNonceLifetime time.Duration

	// SigningAlgs are the algorithms that tokens may be signed with, the
	// default one first: ES256, PS256, EdDSA, RS256. A key is made for each of
	// them. Default: ES256, and what clients have as IDTokenSigningAlg.
	SigningAlgs []string

	// KeyRotation is how long a signing key signs until the next one takes over. The
	// next one is published before, for a quarter of the time and at most a day,
	// and the last one remains published until its last token has expired. After
	// that it still verifies id_token_hints, as do the 23 before it. Nodes with
	// the same store follow one plan. From 1h to 366 days, and not shorter than
	// tokens live; negative: never. Default: 30 days.
	KeyRotation time.Duration

	// EncryptionKeys are keys of 32 bytes by which signing keys are encrypted
	// in the store (AES-256-GCM). The first one encrypts; all of them decrypt.
	// Without one, private keys lie in the store as they are, and who can read
	// the store can sign tokens.
	EncryptionKeys [][]byte

	// ACRValues are the authentication context classes that the application
	// can reach. A request whose acr_values name none of them is refused.
	ACRValues []string

	// Profile is the profile of all clients that have none of their own:
	// ProfileFAPICIBA, or none.
	Profile string

	// AssertionAudience says which audiences of client assertions are taken:
	// AudienceCore or AudienceIssuer. Default: AudienceCore.
	AssertionAudience string

	// BindingMessageMax is how many characters a binding message may have.
	// Default: 128.
	BindingMessageMax int

	// MaxPendingPerUser is how many requests may wait for one user at a time,
	// over all clients. Further ones are refused with 429. Default: 5.
	MaxPendingPerUser int

	// MaxPendingPerUserAndClient is the same for one user and one client.
	// Default: 3.
	MaxPendingPerUserAndClient int

	// InsecureTestApprovals opens an endpoint below the issuer by which a test
	// decides requests without their users:
	//
	//	POST /test/ciba-action?token={auth_req_id}&type=allow|deny
	//
	// It asks for no authentication, approves all scopes as the user of the
	// request, and answers 200 with the new state as JSON, 404 for an unknown
	// auth_req_id, and 409 if the request can not be decided any more. It is for
	// automated runs of the conformance suite (automated_ciba_approval_url), and
	// nothing else opens it. Start logs an error if it is open. Default: false.
	InsecureTestApprovals bool

	// Limits bound floods of requests and of failed authentications.
	Limits Limits

	// ClientIP returns the address that a request comes from, for Limits. It must
	// not be taken from a header that anybody can set. Default: none, and nothing
	// is counted by address.
	ClientIP func(*http.Request) string

	// Notify, if set, is told of each new request once it has been stored, in
	// a goroutine of its own. The context ends after 30s or with Close. What
	// Notify does has no influence on the answer to the client.
	Notify func(ctx context.Context, r *Request)

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Rand is the source of randomness. Default: crypto/rand.Reader.
	Rand io.Reader

	// Logger receives causes of errors and one line for each step of a
	// request. No secret is ever logged. Default: none.
	Logger *zap.Logger
}

// withDefaults returns a copy in which zero values are replaced.
func (c Config) withDefaults() Config {
	setDuration(&c.RequestLifetime, DefaultRequestLifetime)
	setDuration(&c.MaxRequestLifetime, DefaultMaxRequestLifetime)
	setDuration(&c.Interval, DefaultInterval)
	setDuration(&c.AccessTokenLifetime, DefaultAccessTokenLifetime)
	setDuration(&c.RefreshTokenLifetime, DefaultRefreshTokenLifetime)
	setDuration(&c.IDTokenLifetime, DefaultIDTokenLifetime)
	setDuration(&c.KeyRotation, DefaultKeyRotation)
	setDuration(&c.LongPoll, DefaultLongPoll)
	setInt(&c.MaxHeldPolls, DefaultMaxHeldPolls)
	setInt(&c.BindingMessageMax, DefaultBindingMessageMax)
	setInt(&c.MaxPendingPerUser, DefaultMaxPendingPerUser)
	setInt(&c.MaxPendingPerUserAndClient, DefaultMaxPendingPerUserAndClient)
	c.Limits = c.Limits.withDefaults(c.InsecureTestApprovals)
	if c.AssertionAudience == "" {
		c.AssertionAudience = AudienceCore
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func setDuration(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func setInt(n *int, value int) {
	if *n == 0 {
		*n = value
	}
}

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
	errs = append(errs, c.Limits.validate())
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
	if c.Interval < time.Second || c.Interval > time.Minute || c.Interval%time.Second != 0 {
		errs = append(errs, errors.New("the interval must be whole seconds between 1s and 60s"))
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
	return append(errs, c.validateRotation()...)
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
