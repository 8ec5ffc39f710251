package caddyciba

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
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
	key      string // in the pool
	storeKey string // of the engine that keeps its transactions
	issuer   string
	http     *http.Client
	client   *ciba.Client
	store    *caddystore.Handle
	inbox    *inbox
	engine   *stepup.Gate

	// audit is the audit log, or nil.
	audit *caddyaudit.Handle

	// keyring has the keys of proofs that are kept in the store, or is nil.
	keyring *stepup.Keyring

	// exclusive says that no other process can use the store.
	exclusive bool

	rest rest
	beat beat

	// servers are those of the newest configuration that this gate guards.
	servers atomic.Pointer[[]*caddyhttp.Server]

	// ahead are the addresses of services that these ask who a caller is.
	ahead atomic.Pointer[[]string]

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
	encryption, err := a.encryptionKeys()
	if err != nil {
		return nil, err
	}
	key, err := a.gateKey(settings, encryption)
	if err != nil {
		return nil, err
	}
	pooled := &pooledGate{
		key:       key,
		construct: func() (caddy.Destructor, error) { return a.newGate(ctx, settings, key, encryption) },
	}
	g, err := pooled.hold()
	if err != nil {
		return nil, err
	}
	a.attach(pooled.key, g)
	return pooled, nil
}

// gateKey names the gate of a client in the pool.
func (a *App) gateKey(s *clientSettings, encryption [][]byte) (string, error) {
	audited, err := a.auditKey()
	if err != nil {
		return "", err
	}
	return s.poolKey(a.engine.Key() + string(bytes.Join(encryption, nil)) + audited), nil
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
func (a *App) newGate(ctx caddy.Context, s *clientSettings, key string, encryption [][]byte) (*gate, error) {
	g := &gate{key: key, storeKey: a.engine.Key(), issuer: s.issuer, exclusive: isExclusive(a.engine)}
	g.reports.Store(a.reports)
	var err error
	g.http, err = s.httpClient()
	if err != nil {
		return nil, err
	}
	g.store, err = caddystore.Acquire(ctx, a.engine)
	if err != nil {
		return nil, fmt.Errorf("acquiring store: %w", err)
	}
	err = a.openAudit(ctx, g, encryption)
	if err == nil {
		err = g.build(s, encryption)
	}
	if err != nil {
		_ = g.release()
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	g.stop, g.stopped = stop, make(chan struct{})
	go g.settleRegularly(life)
	return g, nil
}

// build makes the client and the engine on the store.
func (g *gate) build(s *clientSettings, encryption [][]byte) error {
	proofs, err := g.proofs(s, encryption)
	if err != nil {
		return err
	}
	g.client, err = s.client(g.http, proofs)
	if err != nil {
		return err
	}
	g.inbox = newInbox(g.store, g.exclusive, s.issuer, s.clientID)
	g.engine, err = stepup.New(stepup.Config{
		Client:   newAsking(g.client, s, g.inbox),
		DPoP:     proofs,
		Store:    g.store,
		Instance: process,
		Alive:    served,

		Name:           s.name(),
		EncryptionKeys: encryption,
		Stay:           g.stay,
		Reenter:        g.reenter,
		Ahead:          g.isAhead,

		// Whatever max_body lets in, one request of a caller has room.
		Limits:  stepup.Limits{HeldBytesPerCaller: maxMaxBody},
		Logger:  g.logger(),
		Audit:   g.auditor(),
		Observe: g.observe,
	})
	return err
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

// errGateGone says that a gate has been given up by everybody.
var errGateGone = errors.New("gate is gone")

// stay keeps the gate for a transaction that goes on without its caller's
// connection.
func (g *gate) stay() (func(), error) {
	g.beatIfDue(context.Background())
	_, _, err := gates.LoadOrNew(g.key, func() (caddy.Destructor, error) { return nil, errGateGone })
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { _, _ = gates.Delete(g.key) }), nil
}

// Destruct implements caddy.Destructor: nobody uses the gate any more.
func (g *gate) Destruct() error {
	g.stop()
	<-g.stopped
	g.http.CloseIdleConnections()
	return g.release()
}

// release gives back what the gate shares with others: the audit log first, which
// keeps its end in the store.
func (g *gate) release() error {
	var err error
	if g.audit != nil {
		err = g.audit.Release()
	}
	return errors.Join(err, g.store.Release())
}

// Interface guard
var _ caddy.Destructor = (*gate)(nil)
