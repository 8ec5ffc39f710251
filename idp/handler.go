package idp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store/caddystore"
	"github.com/caddyciba/gateway/idp/provider"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Bounds of the durations in a Handler.
const (
	maxRequestLifetime = provider.DefaultMaxRequestLifetime
	maxInterval        = time.Minute
	maxTokenLifetime   = time.Hour
	maxSessionLifetime = 24 * time.Hour
)

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

	// How long an access token is valid. Default: 5m. At most 1h.
	AccessTokenLifetime caddy.Duration `json:"access_token_lifetime,omitempty"`

	// How long an ID Token is valid. Default: 5m. At most 1h.
	IDTokenLifetime caddy.Duration `json:"id_token_lifetime,omitempty"`

	// How long a customer stays signed in without doing anything. Default: 30m.
	SessionIdle caddy.Duration `json:"session_idle,omitempty"`

	// How long a customer stays signed in at most. Default: 12h.
	SessionLifetime caddy.Duration `json:"session_lifetime,omitempty"`

	// How long before a request was made the customer may have typed the
	// password, for an approval without typing it again. Default: 0, so that
	// the password must be newer than the request, and auth_time in the ID
	// Token is never before it.
	ProofAge caddy.Duration `json:"proof_age,omitempty"`

	// The authentication context class that signing in with a password stands
	// for, as clients name it in acr_values and as tokens say it. Default:
	// none, so that requests with acr_values are refused.
	ACR string `json:"acr,omitempty"`

	// The algorithms that tokens are signed with: ES256, PS256, EdDSA, RS256.
	// A key is made for each; the first one is the default. Default: ES256.
	SigningAlgs []string `json:"signing_algs,omitempty"`

	// Placeholders, `{env.…}` or `{file.…}`, for keys of 32 bytes in base64 by
	// which signing keys are encrypted in the store (AES-256-GCM). The first
	// one encrypts, all of them decrypt, so that a key can be replaced. Default:
	// none: whoever can read the store can sign tokens.
	EncryptionKeys []string `json:"encryption_keys,omitempty"`

	// What the audience of a client's assertion may be. "core" takes the
	// issuer, the token endpoint and the backchannel authentication endpoint,
	// as CIBA Core 1.0 section 7.1 demands; "issuer" takes the issuer alone, as
	// FAPI 2.0 demands. Default: core.
	AssertionAudience string `json:"assertion_audience,omitempty"`

	// What clients may ask for, in addition to the standard scopes openid,
	// profile, email, phone and address. A scope of one of these names takes
	// the place of the standard one. Default: the standard scopes alone.
	Scopes []*Scope `json:"scopes,omitempty"`

	// Who may ask. Default: nobody.
	Clients []*Client `json:"clients,omitempty"`

	// Who may be asked. Default: nobody.
	Users []*User `json:"users,omitempty"`

	// How the approval app looks. Default: plain, with the issuer's host as
	// name.
	Brand *Brand `json:"brand,omitempty"`

	// key names the pooled instance, and construct makes it. Both are set by
	// Provision; referenced says that this handler holds a reference to it.
	key        string
	construct  caddy.Constructor
	referenced bool

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
	settings.Store = engine.Key()
	h.key, err = settings.key()
	if err != nil {
		return err
	}
	to, err := newSink(ctx)
	if err != nil {
		return err
	}
	h.construct = func() (caddy.Destructor, error) {
		return newInstance(ctx, engine, settings, to)
	}
	in, err := h.acquire()
	if err != nil {
		return err
	}
	h.referenced = true

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
	if len(h.Users) == 0 {
		h.logger.Warn("no users are configured: nobody can approve", zap.String("issuer", h.Issuer))
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

// check finds every mistake that can be found without resolving placeholders.
func (h *Handler) check() error {
	err := checkIssuer(h.Issuer)
	if err != nil {
		return err
	}
	err = h.checkLifetimes()
	if err != nil {
		return err
	}
	for i, scope := range h.Scopes {
		if scope == nil {
			return errors.New("scopes has a null entry")
		}
		err = scope.check()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(h.Scopes[:i], func(s *Scope) bool { return s.Name == scope.Name }) {
			return errTwice("scope", scope.Name)
		}
	}
	for i, client := range h.Clients {
		if client == nil {
			return errors.New("clients has a null entry")
		}
		err = client.check()
		if err != nil {
			return err
		}
		err = h.checkScopes(client)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(h.Clients[:i], func(c *Client) bool { return c.ID == client.ID }) {
			return errTwice("client", client.ID)
		}
	}
	for _, user := range h.Users {
		if user == nil {
			return errors.New("users has a null entry")
		}
		err = user.check()
		if err != nil {
			return err
		}
	}
	err = h.checkEncryptionKeys()
	if err != nil {
		return err
	}
	err = h.checkAssertionAudience()
	if err != nil {
		return err
	}
	if h.Brand != nil {
		return h.Brand.check()
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
		{"access_token_lifetime", h.AccessTokenLifetime, time.Second, maxTokenLifetime},
		{"id_token_lifetime", h.IDTokenLifetime, time.Second, maxTokenLifetime},
		{"session_idle", h.SessionIdle, time.Minute, maxSessionLifetime},
		{"session_lifetime", h.SessionLifetime, time.Minute, maxSessionLifetime},
		{"proof_age", h.ProofAge, time.Second, maxSessionLifetime},
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

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
