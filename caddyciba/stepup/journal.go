package stepup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// recordKind is the kind of the journal's records.
	recordKind = "gateway.transaction"

	// indexState is the index under which transactions are listed.
	indexState = "state"

	// storeTimeout bounds one call of the store. A write is not cut short when
	// the caller hangs up: half a write helps nobody.
	storeTimeout = 10 * time.Second

	// defaultRetention is how long ended transactions are kept.
	defaultRetention = 30 * 24 * time.Hour

	// settleAttempts bounds how often a final state is tried against other
	// writers. Each of them has moved the transaction nearer to its end.
	settleAttempts = 8
)

// errMoved says that somebody else has moved the transaction on, for example an
// operator who cancelled it. The act that the write was to permit is forbidden.
var errMoved = errors.New("transaction was moved on by somebody else")

// errIllegal says that the move is not an edge of the state machine.
var errIllegal = errors.New("illegal move between states")

// JournalConfig configures a Journal.
type JournalConfig struct {
	// Store keeps the transactions. Required.
	Store store.Store

	// Instance names this process among those that share the store. All journals
	// of one process have the same. Default: random, which suits a process with
	// one journal.
	Instance string

	// Retention is how long transactions are kept after their end, except those
	// in doubt, which stay. Default: 30 days.
	Retention time.Duration

	// Alive reports of a transaction of this instance that somebody is at work on
	// it, so that Recover leaves it alone however long that takes. It is called by
	// any goroutine. Default: only deadlines count.
	Alive func(id string) bool

	// answered returns the status of the upstream's answer, if that was written down
	// although the transaction is still in state sending.
	answered func(ctx context.Context, id string) (status int, found bool)

	// over is told of a kept transaction that has ended without its process.
	over func(ctx context.Context, id string)

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Rand is the source of ids. Default: crypto/rand.
	Rand io.Reader
}

// Journal is the durable record of transactions and the only place that moves
// one from state to state. It is safe for concurrent use.
type Journal struct {
	cfg JournalConfig

	// turns keep requests of this process from contending for one record of
	// prompts, which is one of several by its id.
	turns [32]sync.Mutex
}

// NewJournal returns a journal. It does not touch the store.
func NewJournal(cfg JournalConfig) (*Journal, error) {
	if cfg.Store == nil {
		return nil, errors.New("journal needs a store")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Retention <= 0 {
		cfg.Retention = defaultRetention
	}
	if cfg.Instance == "" {
		id, err := newUUID(cfg.Rand)
		if err != nil {
			return nil, fmt.Errorf("naming instance: %w", err)
		}
		cfg.Instance = id
	}
	return &Journal{cfg: cfg}, nil
}

// Get returns one transaction. The error is store.ErrNotFound for one that does
// not exist or is not kept any more.
func (j *Journal) Get(ctx context.Context, id string) (*Transaction, error) {
	e, err := j.read(ctx, id)
	if err != nil {
		return nil, err
	}
	return e.Transaction, nil
}

// List returns transactions in the given state, ordered by id and starting
// behind the id after, at most limit of them.
func (j *Journal) List(ctx context.Context, state State, after string, limit int) ([]*Transaction, error) {
	records, err := j.cfg.Store.List(ctx, recordKind, store.Index{Name: indexState, Value: string(state)}, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing transactions: %w", err)
	}
	list := make([]*Transaction, 0, len(records))
	for _, r := range records {
		t, err := decodeTransaction(r.Data)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// entry is a transaction at the version that this process has read or written.
// One goroutine at a time may use it.
type entry struct {
	*Transaction
	version uint64
}

// begin writes a new transaction in state held. It gets an id if it has none.
func (j *Journal) begin(ctx context.Context, t *Transaction) (*entry, error) {
	if t.ID == "" {
		id, err := newUUID(j.cfg.Rand)
		if err != nil {
			return nil, fmt.Errorf("naming transaction: %w", err)
		}
		t.ID = id
	}
	t.State = StateHeld
	t.Instance = j.cfg.Instance
	t.Times = map[State]time.Time{StateHeld: j.cfg.Now().UTC()}
	r, err := j.record(t, 0)
	if err != nil {
		return nil, err
	}
	ctx, cancel := storeContext(ctx)
	defer cancel()
	err = j.cfg.Store.Create(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("writing transaction: %w", err)
	}
	return &entry{Transaction: t, version: r.Version}, nil
}

// advance moves e to the state next, if the store still has it as e does. Only
// after it has returned nil is the act allowed that next permits. After errMoved
// somebody else decides about the transaction; after any other error nobody
// knows whether the write was made, and the act is not allowed.
func (j *Journal) advance(ctx context.Context, e *entry, next State, change func(*Transaction)) error {
	if !e.State.CanBecome(next) {
		return fmt.Errorf("moving from %s to %s: %w", e.State, next, errIllegal)
	}
	moved := e.clone()
	if change != nil {
		change(moved)
	}
	moved.State = next
	moved.Times[next] = j.cfg.Now().UTC()
	r, err := j.record(moved, e.version)
	if err != nil {
		return err
	}
	// An approval alone permits nothing, and is over with its process unless the
	// request is kept. The way to the upstream shall not wait for the disk twice.
	r.Relaxed = next == StateApproved && !moved.Kept
	ctx, cancel := storeContext(ctx)
	defer cancel()
	err = j.cfg.Store.Update(ctx, r)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("moving from %s to %s: %w", e.State, next, errMoved)
	}
	if err != nil {
		return fmt.Errorf("moving from %s to %s: %w", e.State, next, err)
	}
	e.Transaction, e.version = moved, r.Version
	return nil
}

// settle brings e to the end next. Where the store has it in another state than
// e, because a write of ours was made that was reported as failed or somebody
// else has moved it, settle goes on from there as far as the edges allow. An end
// that is already there stays, and is no error: e then has it.
//
// A transaction in sending is settled only by the attempt whose claim it bears,
// and one that another process has taken up only by that process.
func (j *Journal) settle(ctx context.Context, e *entry, next State, claim string, change func(*Transaction)) error {
	var err error
	for range settleAttempts {
		if e.State.Final() {
			return nil
		}
		if e.Instance != j.cfg.Instance || e.State == StateSending && e.Claim != claim {
			return fmt.Errorf("moving from %s to %s: %w", e.State, next, errMoved)
		}
		err = j.advance(ctx, e, next, change)
		if err == nil || errors.Is(err, errIllegal) {
			return err
		}
		current, readErr := j.read(ctx, e.ID)
		if readErr != nil {
			return errors.Join(err, readErr)
		}
		if current.version == e.version {
			// The store is there and does not take the write: nothing has
			// changed that a further attempt could build on, but one.
			err = j.advance(ctx, e, next, change)
			return err
		}
		*e = *current
	}
	return err
}

// read returns the stored transaction.
func (j *Journal) read(ctx context.Context, id string) (*entry, error) {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	r, err := j.cfg.Store.Get(ctx, recordKind, id)
	if err != nil {
		return nil, fmt.Errorf("reading transaction: %w", err)
	}
	t, err := decodeTransaction(r.Data)
	if err != nil {
		return nil, err
	}
	return &entry{Transaction: t, version: r.Version}, nil
}

// record makes the store's record of t. Open transactions do not expire: a
// record that vanishes would be a request of which nobody knows the outcome.
// Those in doubt wait for an operator.
func (j *Journal) record(t *Transaction, version uint64) (*store.Record, error) {
	data, err := t.encode()
	if err != nil {
		return nil, err
	}
	r := &store.Record{
		Kind:    recordKind,
		ID:      t.ID,
		Version: version,
		Data:    data,
		Indexes: []store.Index{{Name: indexState, Value: t.indexValue()}},
	}
	if t.State.Final() && (t.State != StateInDoubt || t.Resolution != nil) {
		r.Expires = j.cfg.Now().Add(j.cfg.Retention)
	}
	return r, nil
}

// storeContext keeps the values of ctx and replaces its end by a timeout.
func storeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}
