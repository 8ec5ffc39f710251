package stepup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// Client is what a Gate needs of a CIBA client. *ciba.Client is one; tests have
// their own, which decide at chosen moments.
type Client interface {
	// Discover returns the provider's metadata.
	Discover(ctx context.Context) (*ciba.Metadata, error)

	// Start asks the customer.
	Start(ctx context.Context, req ciba.Request) (*ciba.Pending, error)

	// Wait returns the tokens once the customer has approved and they satisfy
	// the check, or why that will not happen.
	Wait(ctx context.Context, p *ciba.Pending, check ciba.Check, onPoll func(attempt int, err error)) (*ciba.Tokens, error)

	// Cancel withdraws the question, if the provider can.
	Cancel(ctx context.Context, p *ciba.Pending) error

	// Revoke withdraws a token, if the provider can.
	Revoke(ctx context.Context, token, hint string) error
}

var _ Client = (*ciba.Client)(nil)

// Config configures a Gate.
type Config struct {
	// Client asks the customers. Required.
	Client Client

	// Store keeps the journal. Required.
	Store store.Store

	// DPoP makes the proofs for access tokens that are bound to a key, as Client has
	// them from the provider. Optional.
	DPoP *ciba.DPoP

	// Name names the gate among those that share the store, in this process and
	// after a restart: the same settings of provider and client have the same name.
	// A gate takes up what gates of its name have left. Optional.
	Name string

	// EncryptionKeys have 32 bytes each. The first one encrypts the keys that kept
	// requests and answers are encrypted with, and all of them decrypt: what another
	// than the first has encrypted is encrypted again when it is read. Without any,
	// those keys lie in the store as they are. Optional.
	EncryptionKeys [][]byte

	// Stay is called before a transaction goes on without its caller's connection.
	// What it returns is called when it is over: Client and Store must live until
	// then. An error keeps the transaction from going on. Optional.
	Stay func() (leave func(), err error)

	// Reenter sends a kept request through the routes that it came by, with the
	// context and the writer given, by what Route.Origin has returned. It is called
	// when the handler that it came to is gone. Default: such requests fail.
	Reenter func(ctx context.Context, w http.ResponseWriter, origin json.RawMessage) error

	// Ahead reports of an address (host and port) that handlers ahead of gates talk
	// to it, as one does that asks another service who the caller is. A request that
	// Reenter brings back may go there and nowhere else before it comes to its gate.
	// Default: nowhere.
	Ahead func(hostPort string) bool

	// Instance names this process in the journal; see JournalConfig.Instance.
	Instance string

	// Alive is JournalConfig.Alive, for processes with several gates. Default:
	// Gate.Serves of this gate.
	Alive func(id string) bool

	// Retention is how long ended transactions are kept. Default: 30 days.
	Retention time.Duration

	// Limits bound what is held. The zero value has the defaults.
	Limits Limits

	// UnavailableDelay is the least time after which a caller is told that a
	// request cannot be approved. It covers the provider's answer, so that an
	// unknown customer takes as long as one who is not set. Default: 1 s.
	UnavailableDelay time.Duration

	// Now is the clock for what is written down. Default: time.Now.
	Now func() time.Time

	// Rand is the source of ids. Default: crypto/rand.
	Rand io.Reader

	// Logger takes what operators must see. Default: none.
	Logger *zap.Logger

	// Audit is told what goes into the audit log: what was asked, decided and sent,
	// by the time that it stands in the journal and before anything comes of it.
	// Nobody is asked and nothing is sent without. It may be slow, and is called by
	// any goroutine. Default: there is no such log.
	Audit Audit

	// Observe is told what happens, in the goroutine of the request, after it
	// was written down. It must not block. Default: none.
	Observe func(Event)
}

const defaultUnavailableDelay = time.Second

// Gate holds requests for approval. One Gate serves any number of routes and is
// safe for concurrent use. It has goroutines for requests that are kept alone,
// and needs no closing; Client and Store must live until the last Serve has
// returned and every leave of Config.Stay was called.
type Gate struct {
	name      string
	client    Client
	dpop      *ciba.DPoP
	journal   *Journal
	occupancy *occupancy
	door      *door
	vault     *vault
	cabinet   *cabinet
	streams   atomic.Int64 // of events, that are open
	looks     *pacer
	stay      func() (func(), error)
	reenter   func(context.Context, http.ResponseWriter, json.RawMessage) error
	ahead     func(string) bool
	reuses    reuses
	serving   sync.Map // ids of transactions, with the *visit or *errand that has them
	delay     time.Duration
	now       func() time.Time
	log       *zap.Logger
	observe   func(Event)
	audit     Audit
}

// New returns a Gate. It does not touch the store or the network.
func New(cfg Config) (*Gate, error) {
	if cfg.Client == nil {
		return nil, errors.New("gate needs a client")
	}
	g := &Gate{}
	if cfg.Alive == nil {
		cfg.Alive = g.Serves
	}
	journal, err := NewJournal(JournalConfig{
		Store:     cfg.Store,
		Instance:  cfg.Instance,
		Retention: cfg.Retention,
		Alive:     cfg.Alive,
		Now:       cfg.Now,
		Rand:      cfg.Rand,
	})
	if err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	err = checkWrapping(cfg.EncryptionKeys)
	if err != nil {
		return nil, err
	}
	g.name = cfg.Name
	g.vault = &vault{store: cfg.Store, wrapping: cfg.EncryptionKeys, rand: journal.cfg.Rand, now: journal.cfg.Now}
	g.cabinet = &cabinet{store: cfg.Store, vault: g.vault, now: journal.cfg.Now}
	journal.cfg.answered, journal.cfg.over = g.cabinet.answered, g.closeFile
	g.stay, g.reenter, g.ahead = cfg.Stay, cfg.Reenter, cfg.Ahead
	if g.stay == nil {
		g.stay = func() (func(), error) { return func() {}, nil }
	}
	g.client, g.dpop, g.audit = cfg.Client, cfg.DPoP, cfg.Audit
	g.journal = journal
	g.occupancy = newOccupancy(cfg.Limits)
	g.door = newDoor()
	g.looks = newPacer()
	g.delay = cfg.UnavailableDelay
	g.now = journal.cfg.Now
	g.log = cfg.Logger
	g.observe = cfg.Observe
	if g.delay <= 0 {
		g.delay = defaultUnavailableDelay
	}
	if g.log == nil {
		g.log = zap.NewNop()
	}
	if g.observe == nil {
		g.observe = func(Event) {}
	}
	return g, nil
}

// Journal returns the journal, for listing and recovery.
func (g *Gate) Journal() *Journal { return g.journal }

// Name returns Config.Name.
func (g *Gate) Name() string { return g.name }

// Serves reports whether a request of this gate has the transaction at this time.
func (g *Gate) Serves(id string) bool {
	_, found := g.serving.Load(id)
	return found
}

// Held returns the number of requests that are held now, and the bytes of their
// bodies.
func (g *Gate) Held() (requests int, bytes int64) {
	used := g.occupancy.now()
	return used.held, used.bytes
}

// Next is the handler behind the gate, which sends the request to the upstream
// and its answer to the writer. It returns an error when it got no answer; nil
// is not yet success. It may be called after the caller has gone. A request that
// was approved is a new one; a request that goes on as it came is the one that
// Serve was called with.
type Next func(http.ResponseWriter, *http.Request) error

// Serve takes r through the whole decision path: it returns nil after next has
// written the upstream's answer to w, or after it has told the caller where to
// find the transaction, and a *Refusal if nothing is written yet; or, of a request
// that goes on without an approval, what next has returned. After an answer that
// broke off half way it panics with http.ErrAbortHandler, as proxies do, so that
// the caller notices.
//
// Serve changes r: hygiene is done on it, and its body is read and replaced.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request, rt *Route, next Next) error {
	if a, ok := r.Context().Value(arrivalKey{}).(*arrival); ok {
		return a.arrive(g, w, r, rt, next)
	}
	if rt.ReportOnly {
		_, visit := g.door.enter(r.Context())
		defer visit.leave()
		return g.report(w, r, rt.withDefaults(), next)
	}
	h := &hold{
		gate:    g,
		route:   rt.withDefaults(),
		next:    next,
		w:       w,
		r:       r,
		caller:  r.Context(),
		arrived: g.now(),
	}
	h.waiting, h.visit = g.door.enter(h.caller)
	return h.serve()
}
