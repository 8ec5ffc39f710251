package provider

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"io"
	"net/http"
	"net/netip"
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
	// Required for AuthTLS.
	ClientRoots *x509.CertPool

	// ListenerVerifiesClients refuses certificates that the TLS listener has not
	// verified, too. It may look at more, such as revocation; ClientRoots are still
	// required, since it may also look at less: many take the authorities of the
	// system.
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
	// in the store (AES-256-GCM). The first one encrypts, and what is encrypted with
	// another is encrypted again, within a minute; all of them decrypt. A key is
	// replaced in three steps, each of them on all nodes: the new one is put behind
	// the old one, then before it, then the old one is left out.
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

	// NoMatchCode leaves out the parameter match_code, an extension of CIBA: it is not
	// in the metadata, and ignored like any parameter that is not known. It is for
	// clients that object to metadata which no specification knows.
	NoMatchCode bool

	// MaskUnknownUsers keeps from clients who is a user. A request for somebody who
	// does not exist, or is disabled, is answered like one for a user who does not
	// react: it pends, and then expires. It costs the store the same. Default: off,
	// since clients are known and a mistyped name is worth an error at once.
	MaskUnknownUsers bool

	// DecoyUserCodeHash is what the user codes for somebody who does not exist are
	// compared with, as User.UserCodeHash: the hash of a random code. Without it such
	// a user looks like one who has no code. It is for MaskUnknownUsers where users
	// have codes.
	DecoyUserCodeHash string

	// History is how long a request is kept after its end, for the user to look it up:
	// what was shown and what was decided. At most ten years. Default: 0, and requests
	// are kept only for as long as the protocol needs them.
	History time.Duration

	// CoolDown keeps clients away from users who have denied them.
	CoolDown CoolDown

	// OnEvent, if set, is told of what happens, by the goroutine that has made it
	// happen, once it is written down. It must not block, and must be safe for
	// concurrent use. With several nodes, one of them tells.
	OnEvent func(ctx context.Context, e Event)

	// Limits bound floods of requests and of failed authentications.
	Limits Limits

	// ClientIP returns the address that a request comes from, for Limits. It must
	// not be taken from a header that anybody can set. Default: none, and nothing
	// is counted by address.
	ClientIP func(*http.Request) string

	// HintResolver, if set, finds the users that hints stand for. Default: Users is
	// asked, by login name or subject.
	HintResolver HintResolver

	// Policies decide in this order whether a request is let through. Default: none,
	// and every request is.
	Policies []Policy

	// ClaimsSource, if set, tells more claims of users than Users does.
	ClaimsSource ClaimsSource

	// Notify, if set, is told of each new request once it has been stored, in
	// a goroutine of its own. The context ends after 30s or with Close. What
	// Notify does has no influence on the answer to the client.
	Notify func(ctx context.Context, r *Request)

	// Notifies, if set, is asked before each call of Notify, by the goroutine that
	// answers the client, and saves it by false. It must return at once, and not
	// depend on who is asked. Default: Notify is always called.
	Notifies func() bool

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
	c.CoolDown = c.CoolDown.withDefaults(c.InsecureTestApprovals)
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
