package caddyciba

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/store/caddystore"
)

// gates are the gates of this process by everything that shapes them. Each
// handler has one reference while its configuration is in use, and each request
// that a handler serves has one of its own: Caddy cleans a handler up while its
// requests are still being held.
var gates = caddy.NewUsagePool()

// process names this process in the journals, so that what one gate is doing is
// not taken by another for something that a dead process has left.
var process = rand.Text()

// A gate is what outlives configurations: the client that talks to one
// provider, with what it knows about it, and the engine of the requests that
// are held.
type gate struct {
	issuer string
	http   *http.Client
	client *ciba.Client
	store  *caddystore.Handle
	inbox  *inbox
	engine *stepup.Gate

	// exclusive says that no other process can use the store.
	exclusive bool

	rest rest

	// stop ends the goroutine that settles now and then; stopped is closed when
	// it has ended.
	stop    context.CancelFunc
	stopped chan struct{}

	// reports belongs to the newest configuration that has started.
	reports atomic.Pointer[reporter]
}

// A pooledGate is a way to a gate in the pool.
type pooledGate struct {
	key       string
	construct caddy.Constructor
}

// acquire takes a reference to the gate of a provider for a handler.
func (a *App) acquire(ctx caddy.Context, p Provider) (*pooledGate, error) {
	settings, err := a.settings(p)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Issuer, err)
	}
	pooled := &pooledGate{
		key:       settings.poolKey(a.engine.Key()),
		construct: func() (caddy.Destructor, error) { return newGate(ctx, settings, a.engine, a.reports) },
	}
	g, err := pooled.hold()
	if err != nil {
		return nil, err
	}
	a.attach(pooled.key, g)
	return pooled, nil
}

// hold takes one more reference. The gate is there already, unless the handler
// has been cleaned up and every other reference is gone: a request can reach a
// handler of an old configuration as late as that. Then it is made anew.
func (p *pooledGate) hold() (*gate, error) {
	value, _, err := gates.LoadOrNew(p.key, p.construct)
	if err != nil {
		return nil, err
	}
	return value.(*gate), nil
}

// release gives one reference back.
func (p *pooledGate) release() error {
	_, err := gates.Delete(p.key)
	return err
}

// isExclusive reports whether an engine serves one process alone.
func isExclusive(engine caddystore.Engine) bool {
	switch engine.(type) {
	case *caddystore.Bolt, *caddystore.Memory:
		return true
	default:
		return false
	}
}

// newGate makes a gate. Nothing is opened and nobody is talked to yet.
func newGate(ctx caddy.Context, s *clientSettings, engine caddystore.Engine, reports *reporter) (*gate, error) {
	g := &gate{issuer: s.issuer, exclusive: isExclusive(engine)}
	g.reports.Store(reports)
	var err error
	g.http, err = s.httpClient()
	if err != nil {
		return nil, err
	}
	g.client, err = s.client(g.http)
	if err != nil {
		return nil, err
	}
	g.store, err = caddystore.Acquire(ctx, engine)
	if err != nil {
		return nil, fmt.Errorf("acquiring store: %w", err)
	}
	g.inbox = newInbox(g.store, s.issuer, s.clientID)
	g.engine, err = stepup.New(stepup.Config{
		Client:   newAsking(g.client, s, g.inbox),
		Store:    g.store,
		Instance: process,
		Alive:    served,
		// Whatever max_body lets in, one request of a caller has room.
		Limits:  stepup.Limits{HeldBytesPerCaller: maxMaxBody},
		Logger:  zap.New(followingCore{gate: g}),
		Observe: g.observe,
	})
	if err != nil {
		_ = g.store.Release()
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	g.stop, g.stopped = stop, make(chan struct{})
	go g.settleRegularly(life)
	return g, nil
}

// served reports whether any gate of this process has a transaction.
func served(id string) bool {
	found := false
	gates.Range(func(_, value any) bool {
		found = value.(*gate).engine.Serves(id)
		return !found
	})
	return found
}

// Destruct implements caddy.Destructor: nobody uses the gate any more.
func (g *gate) Destruct() error {
	g.stop()
	<-g.stopped
	g.http.CloseIdleConnections()
	return g.store.Release()
}

// Interface guard
var _ caddy.Destructor = (*gate)(nil)
