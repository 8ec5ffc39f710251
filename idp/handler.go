package idp

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
	"github.com/caddyciba/gateway/caddyciba/store/caddystore"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Where the modules of stores are, and the key that names one in JSON.
const (
	storeNamespace = "ciba.stores"
	storeInlineKey = "engine"
)

// Handler is an OpenID Provider for CIBA (OpenID Connect Client-Initiated
// Backchannel Authentication Flow, Core 1.0) together with the web app in which
// customers approve or deny what clients ask of them.
//
// It answers the paths below its issuer: the discovery document, the keys, the
// backchannel authentication endpoint, the token endpoint, userinfo, and the
// pages of the approval app. Requests for other paths go to the next handler.
//
// Clients, scopes and users come from the config. Signing keys are made when
// the provider first starts, and kept in the store with sessions and requests.
// Loading another config keeps all of them.
type Handler struct {
	// The URL by which clients know this provider, for example
	// "https://id.example.com". Required. It is compared byte by byte, so it
	// is written out in full, without placeholders and without a slash at its
	// end. Plain http is taken for loopback hosts only.
	Issuer string `json:"issuer,omitempty"`

	// The profile that all clients without one of their own must follow:
	// "fapi_ciba" demands private_key_jwt or certificates, signed requests, and
	// tokens that are bound to a key. Default: none.
	Profile string `json:"profile,omitempty"`

	// The store of keys, sessions and requests: a module of the namespace
	// ciba.stores. Default: bolt, in the directory ciba below Caddy's data
	// directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ciba.stores inline_key=engine"`

	// How long a request waits for its customer when the client does not ask
	// for another time. Default: 5m, or max_request_lifetime if that is less.
	RequestLifetime caddy.Duration `json:"request_lifetime,omitempty"`

	// How long a request waits at most; a client that asks for more gets this.
	// Default: 10m, which also is the most.
	MaxRequestLifetime caddy.Duration `json:"max_request_lifetime,omitempty"`

	// How long a client has to wait between two polls, in whole seconds.
	// Default: 5s. From 1s to 1m.
	Interval caddy.Duration `json:"interval,omitempty"`

	// How long a poll is held while the customer has not decided, if the client
	// asks for it by the header "Prefer: wait=SECONDS", or has long_poll. The
	// answer comes as soon as there is a decision. Default: 25s, which also is
	// the most. A negative value turns it off.
	LongPoll caddy.Duration `json:"long_poll,omitempty"`

	// How many characters a binding message may have. Default: 128. At most
	// 1024.
	BindingMessageMax int `json:"binding_message_max,omitempty"`

	// How long an access token is valid. Default: 5m. At most 1h.
	AccessTokenLifetime caddy.Duration `json:"access_token_lifetime,omitempty"`

	// How long an ID Token is valid. Default: 5m. At most 1h.
	IDTokenLifetime caddy.Duration `json:"id_token_lifetime,omitempty"`

	// How long after the customer's approval a client can refresh its tokens.
	// Refreshing does not prolong it. Default: 24h. At most 365d.
	RefreshTokenLifetime caddy.Duration `json:"refresh_token_lifetime,omitempty"`

	// Asks for a nonce in DPoP proofs, which is good for this long at least, so
	// that proofs cannot be made ahead. Clients need one more round trip now and
	// then. From 10s to 1h. Default: 0, and no nonces are asked for.
	DPoPNonceLifetime caddy.Duration `json:"dpop_nonce_lifetime,omitempty"`

	// How long a customer stays signed in without doing anything. Default: 30m.
	SessionIdle caddy.Duration `json:"session_idle,omitempty"`

	// How long a customer stays signed in at most. Default: 12h.
	SessionLifetime caddy.Duration `json:"session_lifetime,omitempty"`

	// How long before a request was made the customer may have typed the
	// password, for an approval without typing it again. Default: 0, so that
	// the password must be newer than the request, and auth_time in the ID
	// Token is never before it.
	ProofAge caddy.Duration `json:"proof_age,omitempty"`

	// How long customers can look up what they were asked and what they decided,
	// after its end. For so long the requests stay in the store. From 1h to ten
	// years. Default: 90d. A negative value turns it off.
	History caddy.Duration `json:"history,omitempty"`

	// The authentication context classes that the ways to sign in and approve
	// stand for, as clients name them in acr_values and as tokens say them.
	// Default: "phr" for passkeys, and none for passwords.
	ACR *Classes `json:"acr,omitempty"`

	// How long it is kept what customers were shown and how they approved it,
	// with the signatures of their passkeys. Default: 400d. From 1d to 3650d.
	EvidenceLifetime caddy.Duration `json:"evidence_lifetime,omitempty"`

	// The algorithms that tokens are signed with: ES256, PS256, EdDSA, RS256.
	// A key is made for each; the first one is the default. Default: ES256.
	SigningAlgs []string `json:"signing_algs,omitempty"`

	// How long a key signs until the next one takes over. The next one is
	// published before that, and the last one stays published until its last
	// token has expired. Default: 30d. From 1h to 366d, and not shorter than
	// tokens live. A negative value turns it off.
	KeyRotation caddy.Duration `json:"key_rotation,omitempty"`

	// Placeholders, `{env.…}` or `{file.…}`, for keys of 32 bytes in base64 by
	// which signing keys are encrypted in the store (AES-256-GCM). The first
	// one encrypts, all of them decrypt, and what another one than the first has
	// encrypted is encrypted again. To replace a key, put the new one behind it on
	// all nodes, then before it, then leave the old one out. Default: none: whoever
	// can read the store can sign tokens.
	EncryptionKeys []string `json:"encryption_keys,omitempty"`

	// What the audience of a client's assertion may be. "core" takes the
	// issuer, the token endpoint and the backchannel authentication endpoint,
	// as CIBA Core 1.0 section 7.1 demands; "issuer" takes the issuer alone, as
	// FAPI 2.0 demands. Default: core.
	AssertionAudience string `json:"assertion_audience,omitempty"`

	// The certificate authorities that issue certificates to clients with
	// tls_client_auth: files in PEM, read when the config is loaded. Placeholders
	// are resolved. The authorities of the system are never taken. Default: none,
	// and there are no such clients.
	ClientCAFiles []string `json:"client_ca_files,omitempty"`

	// Says that the TLS listener must have verified the certificate of a client,
	// too: that is, client_auth of the site's tls directive in a mode that verifies.
	// It serves to have more looked at than client_ca_files, without which it cannot
	// be set, for example revocation. Default: false.
	ListenerVerifiesClients bool `json:"listener_verifies_clients,omitempty"`

	// Where clients with certificates find the endpoints: an https URL with the
	// path of the issuer, at which a site with the same ciba_idp directive asks
	// for client certificates. It is told in the discovery document as
	// mtls_endpoint_aliases. Default: none, and the ordinary endpoints take
	// certificates if their site asks for them.
	MTLSBaseURL string `json:"mtls_base_url,omitempty"`

	// The networks besides the public Internet that notifications to clients may
	// go to, such as "10.1.0.0/16", for clients that are in a private network or
	// on this host. Addresses are checked when a connection is made. Default:
	// none.
	NotificationNetworks []string `json:"notification_networks,omitempty"`

	// The certificate authorities that the clients' notification endpoints are
	// verified with: files in PEM, read when the config is loaded. Placeholders
	// are resolved. Default: those of the system.
	NotificationCAFiles []string `json:"notification_ca_files,omitempty"`

	// Keeps from clients who is a customer. A request for somebody who does not
	// exist, or is disabled, is answered like one for a customer who does not react:
	// it waits, and then expires. Where customers have user codes, those who do not
	// exist look like customers who have one. Default: false, and the answer is
	// unknown_user_id, so that a mistyped name is an error at once.
	MaskUnknownUsers bool `json:"mask_unknown_users,omitempty"`

	// Leaves out the parameter match_code, an extension of CIBA by which customers
	// type a number that they see on the screen where they have made a request, and
	// its metadata. For clients that object to metadata which no specification
	// knows. In the Caddyfile: match_code off. Default: false.
	NoMatchCode bool `json:"no_match_code,omitempty"`

	// Opens an endpoint at which everybody who knows an auth_req_id can approve
	// or deny the request without its customer, for automated tests. It must
	// never be open where real people are asked, and every load of the config
	// logs an error as long as it is. Default: false.
	InsecureTestApprovals bool `json:"insecure_test_approvals,omitempty"`

	// A log of who was asked what and decided what, in which every later change can be
	// seen. Default: none.
	Audit *caddyaudit.Options `json:"audit,omitempty"`

	// What is done against floods. Default: the defaults of each limit.
	Limits *Limits `json:"limits,omitempty"`

	// What clients may ask for, in addition to the standard scopes openid,
	// profile, email, phone and address. A scope of one of these names takes
	// the place of the standard one. Default: the standard scopes alone.
	Scopes []*Scope `json:"scopes,omitempty"`

	// The types of authorization details that clients may ask for, besides
	// http_request. Default: http_request alone.
	Details []*DetailsType `json:"details,omitempty"`

	// Whose login_hint_tokens are trusted. Default: nobody's, and such hints are
	// refused.
	HintIssuers []*HintIssuer `json:"hint_issuers,omitempty"`

	// Other OpenID Providers at which customers can sign in to the approval app.
	// Default: none.
	SignInWith []*SignInWith `json:"sign_in_with,omitempty"`

	// Who may ask. Default: nobody.
	Clients []*Client `json:"clients,omitempty"`

	// Who may be asked. Default: nobody.
	Users []*User `json:"users,omitempty"`

	// Where customers come from instead of users: a module of the namespace
	// ciba_idp.users. Default: those in users.
	UsersRaw json.RawMessage `json:"users_from,omitempty" caddy:"namespace=ciba_idp.users inline_key=source"`

	// How customers are told that a request waits for them: modules of the
	// namespace ciba_idp.notifiers, all of which are used. Default: none, and
	// customers see requests when they open the approval app.
	NotifiersRaw []json.RawMessage `json:"notifiers,omitempty" caddy:"namespace=ciba_idp.notifiers inline_key=notifier"`

	// Tries the notifiers one after the other, in their order, and stops at the
	// first one that reaches the customer. Default: false, and all of them are
	// used for each request.
	NotifyUntilReached bool `json:"notify_until_reached,omitempty"`

	// How the hints of clients lead to customers: a module of the namespace
	// ciba_idp.hints. Default: by the name with which they sign in, or by their
	// subject.
	HintsRaw json.RawMessage `json:"hints,omitempty" caddy:"namespace=ciba_idp.hints inline_key=resolver"`

	// What decides whether a request is let through, before its customer is asked:
	// modules of the namespace ciba_idp.policies, asked in this order. Default: none,
	// and every request that is in order is let through.
	PoliciesRaw []json.RawMessage `json:"policies,omitempty" caddy:"namespace=ciba_idp.policies inline_key=policy"`

	// What knows more claims of customers than the directory: modules of the
	// namespace ciba_idp.claims, of which later ones win. Default: none.
	ClaimsRaw []json.RawMessage `json:"claims_from,omitempty" caddy:"namespace=ciba_idp.claims inline_key=source"`

	// How the approval app looks. Default: plain, with the issuer's host as
	// name.
	Brand *Brand `json:"brand,omitempty"`

	// key names the pooled instance, and construct makes it. Both are set by
	// Provision; referenced says that this handler holds a reference to it.
	key        string
	construct  caddy.Constructor
	referenced bool

	// usersFromModule says that there are users which the config does not name.
	usersFromModule bool

	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ciba_idp",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the config, resolves its secrets, and makes or finds the
// provider that it describes. It opens no store and changes nothing outside of
// the process.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	err := h.check()
	if err != nil {
		return err
	}
	engine, err := h.loadStore(ctx)
	if err != nil {
		return err
	}
	settings, warnings, err := h.resolve(caddy.NewReplacer())
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		h.logger.Warn(warning, zap.String("issuer", h.Issuer))
	}
	settings.Store, settings.Guests = engine.Key(), h.rawGuests()
	h.key, err = settings.key()
	if err != nil {
		return err
	}
	to, err := newSink(ctx)
	if err != nil {
		return err
	}
	to.guests, err = h.loadGuests(ctx)
	if err != nil {
		return err
	}
	h.usersFromModule = to.users != nil
	h.construct = func() (caddy.Destructor, error) {
		return newInstance(ctx, engine, settings, to)
	}
	in, err := h.acquire()
	if err != nil {
		return err
	}
	h.referenced = true
	if h.InsecureTestApprovals {
		// The provider says so, too, but only when it is made.
		h.logger.Error("INSECURE: insecure_test_approvals is set: whoever knows an auth_req_id can approve the request in the customer's place", zap.String("issuer", h.Issuer))
	}

	app, err := ctx.App(appName)
	if err != nil {
		return err
	}
	err = app.(*App).add(h.key, in, to)
	if err != nil {
		return err
	}
	return registerMetrics(ctx.GetMetricsRegistry())
}

// Validate warns of what is allowed and most likely not meant.
func (h *Handler) Validate() error {
	if len(h.Clients) == 0 {
		h.logger.Warn("no clients are configured: nobody can ask for an approval", zap.String("issuer", h.Issuer))
	}
	if len(h.Users) == 0 && !h.usersFromModule {
		h.logger.Warn("no users are configured: nobody can approve but those who are added with: caddy ciba-idp user add", zap.String("issuer", h.Issuer))
	}
	return nil
}

// Cleanup gives the handler's reference back. Requests that are still served
// hold their own.
func (h *Handler) Cleanup() error {
	if !h.referenced {
		return nil
	}
	h.referenced = false
	return release(h.key)
}

// loadStore loads the store's module, or the default one.
func (h *Handler) loadStore(ctx caddy.Context) (caddystore.Engine, error) {
	var (
		module any
		err    error
	)
	if h.StoreRaw == nil {
		module, err = ctx.LoadModuleByID(caddystore.DefaultEngine, nil)
	} else {
		module, err = ctx.LoadModule(h, "StoreRaw")
	}
	if err != nil {
		return nil, fmt.Errorf("loading store: %w", err)
	}
	engine, ok := module.(caddystore.Engine)
	if !ok {
		return nil, fmt.Errorf("store module %T is not a store engine", module)
	}
	return engine, nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
