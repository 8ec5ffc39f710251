package caddyciba

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
	"github.com/caddyciba/gateway/caddyciba/store/caddystore"
)

// Where the engines of the store are registered.
const (
	storeNamespace = "ciba.stores"
	storeInlineKey = "engine"
)

// startTimeout bounds what Start does before it leaves the rest to the first
// request.
const startTimeout = 10 * time.Second

func init() {
	caddy.RegisterModule(App{})
}

// App is what all gates of a configuration share: where they keep the state of
// requests that are held, and the providers that they know by name. It is
// optional; a gate that names its issuer works without it.
//
// When it starts, it opens the store and settles what an earlier process has
// left behind: a request that was being sent when that process ended is marked
// as being in doubt, and is never sent again.
type App struct {
	// Store is the engine that keeps the state of held requests. Gates, and a
	// provider in the same process, which use the same engine with the same
	// settings share one store. Default: `bolt`, in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ciba.stores inline_key=engine"`

	// EncryptionKeys say where keys are, of 32 bytes in base64: `{env.NAME}` or
	// `{file.PATH}`. Requests and answers that are kept for callers lie in the store
	// encrypted, with a key that is made at the first start and kept there, too. The
	// first of these keys encrypts that one, all decrypt it, and if another than the
	// first has encrypted it, it is encrypted again. All nodes that share the store
	// need the same. To replace a key, put the new one behind it on all nodes, then
	// before it, then leave the old one out. Default: none; who can read the store
	// can then read what is kept.
	EncryptionKeys []string `json:"encryption_keys,omitempty"`

	// Audit is a log of who was asked what, what they decided and what was sent, in
	// which every later change can be seen. Default: there is none.
	Audit *caddyaudit.Options `json:"audit,omitempty"`

	// Providers are the OpenID Providers that gates refer to by name.
	Providers map[string]*Provider `json:"providers,omitempty"`

	// ctx is kept for events, which belong to a module's context. Waiting for
	// anything is never done with it: it ends when the configuration does, and
	// held requests do not.
	ctx     caddy.Context
	logger  *zap.Logger
	engine  caddystore.Engine
	reports *reporter

	// gates are those of this configuration, by key. Caddy provisions one
	// module after the other and starts apps when all are provisioned.
	gates map[string]*gate

	// guarded are the servers that have each of them.
	guarded map[string][]*caddyhttp.Server

	// ahead are the addresses of services that these ask who a caller is.
	ahead []string

	// store and journal are for operators: they list transactions of all gates.
	store   *caddystore.Handle
	journal *stepup.Journal
	health  *health

	// before is what gates belonged to before this configuration started.
	before map[string]surroundings

	// notified are the providers whose notifications some site takes.
	notified map[string]bool
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ciba",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision loads the store's engine without opening it, and prepares metrics
// and events.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.gates = make(map[string]*gate)
	a.guarded = make(map[string][]*caddyhttp.Server)
	a.notified = make(map[string]bool)
	a.health = new(health)
	a.before = make(map[string]surroundings)

	for _, name := range slices.Sorted(maps.Keys(a.Providers)) {
		if a.Providers[name] == nil {
			return fmt.Errorf("provider %s: must not be null", name)
		}
		err := a.Providers[name].check()
		if err != nil {
			return fmt.Errorf("provider %s: %w", name, err)
		}
		err = a.Providers[name].provision(ctx)
		if err != nil {
			return fmt.Errorf("provider %s: %w", name, err)
		}
	}

	_, err := a.auditKey()
	if err != nil {
		return err
	}
	engine, err := a.loadEngine(ctx)
	if err != nil {
		return err
	}
	a.engine = engine
	err = a.openJournal(ctx)
	if err != nil {
		return err
	}

	a.reports, err = newReporter(ctx, a.logger)
	if err != nil {
		return err
	}
	return a.drainWhenStopping()
}

func (a *App) loadEngine(ctx caddy.Context) (caddystore.Engine, error) {
	var module any
	var err error
	if a.StoreRaw == nil {
		module, err = ctx.LoadModuleByID(caddystore.DefaultEngine, nil)
	} else {
		module, err = ctx.LoadModule(a, "StoreRaw")
	}
	if err != nil {
		return nil, fmt.Errorf("loading store: %w", err)
	}
	engine, ok := module.(caddystore.Engine)
	if !ok {
		return nil, fmt.Errorf("loading store: %T is not a store engine", module)
	}
	return engine, nil
}

// openJournal makes the journal that operators look into. The store is opened when
// it is first used.
func (a *App) openJournal(ctx caddy.Context) error {
	handle, err := caddystore.Acquire(ctx, a.engine)
	if err != nil {
		return fmt.Errorf("acquiring store: %w", err)
	}
	a.store = handle
	a.journal, err = stepup.NewJournal(stepup.JournalConfig{Store: handle, Instance: process})
	return err
}

// Cleanup gives the store back.
func (a *App) Cleanup() error {
	if a.store == nil {
		return nil
	}
	return a.store.Release()
}

// Start opens the stores and settles what an earlier process left behind. A
// store that is down does not keep Caddy from starting, since Caddy may serve
// much else: gates answer 503 until it is back.
func (a *App) Start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	a.warnUnnotified()
	for key, g := range a.gates {
		servers := a.guarded[key]
		a.before[key] = surroundings{
			servers: g.servers.Swap(&servers), ahead: g.ahead.Swap(&a.ahead), reports: g.reports.Swap(a.reports),
		}
		g.engine.Resume()
		g.settleRest(ctx)
	}
	return nil
}

// Stop leaves requests that are still held as they are: at a reload they go on,
// and report to the configuration that follows. When Caddy itself stops, those
// that wait have been answered before (see drain), and Stop waits for those that
// are being sent, within the grace period.
func (a *App) Stop() error {
	if !stopping() {
		a.giveBack()
	}
	if !stopping() || caddy.Exiting() {
		// The HTTP app of a process that exits waits by itself.
		return nil
	}
	return a.awaitSent()
}

// attach makes a gate report to this app once it starts.
func (a *App) attach(key string, g *gate) {
	a.gates[key] = g
}

// guards notes that a server has a gate.
func (a *App) guards(key string, server *caddyhttp.Server) {
	if slices.Contains(a.guarded[key], server) {
		return
	}
	for _, path := range exactPaths(server.Routes) {
		a.logger.Warn("the matcher of a gate is for one path alone; if the upstream takes others for the same, such as with a slash at the end, they pass without an approval: match "+path+"* instead",
			zap.String("path", path), zap.String("server", server.Name()))
	}
	a.guarded[key] = append(a.guarded[key], server)
	a.ahead = append(a.ahead, askedAhead(server.Routes)...)
}

// knows returns an error that names the providers there are, unless the one
// asked for is among them.
func (a *App) knows(name string) error {
	if a.Providers[name] != nil {
		return nil
	}
	return fmt.Errorf("unknown provider '%s': %s (an issuer is a URL that begins with https://)", name, known(a.Providers))
}

// provider finds what a gate's name or issuer stands for, with defaults. An
// issuer that exactly one named provider has is that provider.
func (a *App) provider(name, issuer string) (Provider, error) {
	if name != "" {
		err := a.knows(name)
		if err != nil {
			return Provider{}, err
		}
		return a.Providers[name].withDefaults(), nil
	}
	var found *Provider
	for _, candidate := range slices.Sorted(maps.Keys(a.Providers)) {
		p := a.Providers[candidate]
		if p.Issuer != issuer {
			continue
		}
		if found != nil {
			return Provider{}, fmt.Errorf("several providers have the issuer %s: use the name of one", issuer)
		}
		found = p
	}
	if found == nil {
		found = &Provider{Issuer: issuer}
	}
	return found.withDefaults(), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
