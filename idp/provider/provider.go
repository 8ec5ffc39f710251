package provider

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Provider is an OpenID Provider. It is an [net/http.Handler] and safe for
// concurrent use. Several Providers, in one process or in several, may share a
// store if they have the same issuer.
type Provider struct {
	cfg          Config
	log          *zap.Logger
	base         string // path of the issuer
	clients      map[string]*client
	scopes       map[string]Scope
	signingAlgs  []string
	audiences    []string // that client assertions may have
	hintIssuers  map[string]*hintIssuer
	detailsTypes map[string]DetailsType
	discovery    []byte
	routes       map[string]route
	sealer       *sealer
	nonces       nonces

	keySet   atomic.Pointer[keySet]
	keyLoad  turns // one: taken while keys are loaded, never while they are used
	keyWatch sync.Once

	background background
	callbacks  *http.Client
	outbox     sync.Once
	heldPolls  atomic.Int64
	userCodes  turns // that are compared
	limiter    limiter
}

// route is one endpoint.
type route struct {
	allow   string // methods, as in the Allow header
	methods []string
	serve   func(http.ResponseWriter, *http.Request) error
}

func newRoute(serve func(http.ResponseWriter, *http.Request) error, methods ...string) route {
	return route{allow: strings.Join(methods, ", "), methods: methods, serve: serve}
}

// New returns a provider. It checks the configuration and does no I/O: keys are
// read or made by Start, or by the first request that needs them.
func New(cfg Config) (*Provider, error) {
	err := cfg.Validate()
	if err != nil {
		return nil, fmt.Errorf("checking configuration: %w", err)
	}
	cfg = cfg.withDefaults()
	issuer, err := parseIssuer(cfg.Issuer)
	if err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg, log: cfg.Logger, base: issuer.Path}
	p.callbacks = newCallbackClient(cfg.NotificationNetworks, cfg.NotificationRoots)
	p.background.done = make(chan struct{})
	p.scopes, err = compileScopes(cfg.Scopes)
	if err != nil {
		return nil, err
	}
	p.detailsTypes, err = compileDetailsTypes(cfg.DetailsTypes)
	if err != nil {
		return nil, err
	}
	p.clients, err = compileClients(cfg.Clients, p.scopes, p.detailsTypes)
	if err != nil {
		return nil, err
	}
	cfg.applyProfile(p.clients)
	p.hintIssuers, err = compileHintIssuers(cfg.HintIssuers)
	if err != nil {
		return nil, err
	}
	p.sealer, err = newSealer(cfg.EncryptionKeys)
	if err != nil {
		return nil, err
	}
	p.keyLoad = newTurns(1)
	p.userCodes = newTurns(userCodeSlots)
	p.nonces.secret = newSharedSecret("dpop-nonce")
	p.nonces.lifetime = cfg.DPoPNonceLifetime
	p.signingAlgs = collectSigningAlgs(cfg)
	p.audiences = []string{cfg.Issuer}
	if cfg.AssertionAudience == AudienceCore {
		p.audiences = append(p.audiences, p.urls(pathToken)...)
		p.audiences = append(p.audiences, p.urls(pathBackchannel)...)
	}
	p.discovery, err = p.compileDiscovery()
	if err != nil {
		return nil, err
	}
	p.routes = map[string]route{
		p.base + pathDiscovery:   newRoute(p.serveDiscovery, http.MethodGet, http.MethodHead),
		p.base + pathJWKS:        newRoute(p.serveJWKS, http.MethodGet, http.MethodHead),
		p.base + pathBackchannel: newRoute(p.serveBackchannel, http.MethodPost),
		p.base + pathAuthorize:   newRoute(p.serveAuthorize, http.MethodGet, http.MethodPost),
		p.base + pathToken:       newRoute(p.serveToken, http.MethodPost),
		p.base + pathIntrospect:  newRoute(p.serveIntrospect, http.MethodPost),
		p.base + pathRevoke:      newRoute(p.serveRevoke, http.MethodPost),
		p.base + pathUserinfo:    newRoute(p.serveUserinfo, http.MethodGet, http.MethodPost),
	}
	if cfg.InsecureTestApprovals {
		p.routes[p.base+pathTestApproval] = newRoute(p.serveTestApproval, http.MethodPost)
	}
	return p, nil
}

// collectSigningAlgs returns the algorithms that keys are needed for.
func collectSigningAlgs(cfg Config) []string {
	algs := slices.Clone(cfg.SigningAlgs)
	if len(algs) == 0 {
		algs = []string{signingAlgs[0]}
	}
	for _, c := range cfg.Clients {
		if c.IDTokenSigningAlg != "" {
			algs = append(algs, c.IDTokenSigningAlg)
		}
	}
	var unique []string
	for _, alg := range algs {
		if !slices.Contains(unique, alg) {
			unique = append(unique, alg)
		}
	}
	return unique
}

// Start reads the signing keys from the store, makes those that are missing, and
// begins to call clients. What goes on in the background ends with Close, not with
// the context.
// It may be called again after an error.
func (p *Provider) Start(ctx context.Context) error {
	p.warnOfTestApprovals()
	p.startOutbox(ctx)
	p.keyWatch.Do(func() { p.background.run(ctx, 0, p.watchKeys) })
	_, err := p.keys(ctx)
	return err
}

// Close ends what goes on in the background and waits for it. The store stays
// open. Requests that are being served are not disturbed.
func (p *Provider) Close() {
	p.background.close()
	p.callbacks.CloseIdleConnections()
}

// Issuer returns the issuer identifier.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

// Handles reports whether the path of the request is one of the provider's
// endpoints.
func (p *Provider) Handles(r *http.Request) bool {
	_, ok := p.routes[r.URL.Path]
	return ok
}

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, ok := p.routes[r.URL.Path]
	if !ok {
		p.renderError(w, r, &oauthError{status: http.StatusNotFound})
		return
	}
	if !slices.Contains(route.methods, r.Method) {
		p.renderError(w, r, &oauthError{
			status:      http.StatusMethodNotAllowed,
			code:        codeInvalidRequest,
			description: "The method is not allowed here.",
			allow:       route.allow,
		})
		return
	}
	p.offerNonce(w, r)
	err := route.serve(w, r)
	if err != nil {
		p.renderError(w, r, err)
	}
}

// url returns the URL of an endpoint.
func (p *Provider) url(path string) string { return p.cfg.Issuer + path }

// now returns the time by the provider's clock.
func (p *Provider) now() time.Time { return p.cfg.Now() }
