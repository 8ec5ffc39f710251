package stepup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
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

	// Observe is told what happens, in the goroutine of the request, after it
	// was written down. It must not block. Default: none.
	Observe func(Event)
}

const defaultUnavailableDelay = time.Second

// Gate holds requests for approval. One Gate serves any number of routes and is
// safe for concurrent use. It has no goroutines of its own and needs no closing;
// Client and Store must live until the last Serve has returned.
type Gate struct {
	client    Client
	journal   *Journal
	occupancy *occupancy
	door      *door
	serving   sync.Map // ids of transactions
	delay     time.Duration
	now       func() time.Time
	log       *zap.Logger
	observe   func(Event)
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
	g.client = cfg.Client
	g.journal = journal
	g.occupancy = newOccupancy(cfg.Limits)
	g.door = newDoor()
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
// written the upstream's answer to w, and a *Refusal if it has not and nothing
// is written yet; or, of a request that goes on without an approval, what next
// has returned. After an answer that broke off half way it panics with
// http.ErrAbortHandler, as proxies do, so that the caller notices.
//
// Serve changes r: hygiene is done on it, and its body is read and replaced.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request, rt *Route, next Next) error {
	waiting, visit := g.door.enter(r.Context())
	defer visit.leave()
	if rt.ReportOnly {
		return g.report(w, r, rt.withDefaults(), next)
	}
	h := &hold{
		gate:    g,
		route:   rt.withDefaults(),
		next:    next,
		w:       w,
		r:       r,
		caller:  r.Context(),
		waiting: waiting,
		visit:   visit,
		arrived: g.now(),
	}
	defer func() {
		if h.entry != nil {
			g.serving.Delete(h.entry.ID)
		}
	}()
	return h.serve()
}
