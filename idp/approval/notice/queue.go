package notice

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// Attempts is how often a notification is tried over one channel.
	Attempts = 5

	// Timeout bounds one attempt.
	Timeout = 15 * time.Second

	// firstRetry is how long after the first attempt there is another one. The
	// wait doubles.
	firstRetry = 2 * time.Second

	// lookEvery is how often each node looks for what others have left.
	lookEvery = 15 * time.Second

	// channelSlots bounds the attempts over one channel at a time, so that one
	// that hangs takes nothing from the others.
	channelSlots = 256
)

// Config is what a [Queue] is made of.
type Config struct {
	// Store keeps what is still to be sent. Nodes that share it share the work.
	// Required.
	Store store.Store

	// Open is asked before each attempt but the first. It returns what the
	// notification is tried over now, and false if nobody waits for it any
	// more. Required.
	Open func(ctx context.Context, n Notice) (Round, bool, error)

	// Report, if set, is told of each attempt, by the goroutine that made it.
	Report func(Report)

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Logger receives what is wrong with the store. Default: none.
	Logger *zap.Logger
}

// Queue sends notifications. It is safe for concurrent use.
type Queue struct {
	cfg  Config
	wake chan struct{} // something is due earlier than was thought

	mu      sync.Mutex
	slots   map[string]chan struct{} // by key of the channel
	stop    context.CancelFunc       // ends the sweeper; nil before Start
	closed  bool
	sweeper sync.WaitGroup
	rounds  sync.WaitGroup
}

// New returns a queue. What earlier ones have left is taken up by [Queue.Start].
func New(cfg Config) *Queue {
	if cfg.Report == nil {
		cfg.Report = func(Report) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Queue{cfg: cfg, wake: make(chan struct{}, 1), slots: make(map[string]chan struct{})}
}

// Start takes up what is due, now and until Close. Further calls do nothing.
func (q *Queue) Start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	q.stop = cancel
	q.sweeper.Go(func() { q.run(ctx) })
}

// Close begins nothing new from now on. What is on its way goes on; [Queue.Wait]
// waits for it.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	if q.stop != nil {
		q.stop()
	}
	q.mu.Unlock()
	q.sweeper.Wait()
}

// Wait waits for the attempts that are being made, a matter of [Timeout].
func (q *Queue) Wait() { q.rounds.Wait() }

// Add notifies a customer. It returns once the notification is written down, and
// sends it in goroutines of its own; the context lends its values and nothing else.
// A store that fails does not keep the first attempt from being made.
func (q *Queue) Add(ctx context.Context, n Notice, r Round) {
	if len(r.Channels) == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	e := newEntry(n, r, q.cfg.Now())
	storing, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := q.create(storing, e)
	if errors.Is(err, store.ErrExists) {
		return // somebody is at it
	}
	if err != nil {
		e.record = nil
		q.cfg.Logger.Error("a notification is sent without having been written down", zap.String("request", n.Request), zap.Error(err))
	}
	q.start(func() { q.round(ctx, e, r) })
}

// start runs f in a goroutine, unless the queue is closed. What is not begun stays
// in the store for others.
func (q *Queue) start(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.rounds.Go(f)
	}
}

// run looks for what is due until the context ends.
func (q *Queue) run(ctx context.Context) {
	for {
		next := q.sweep(ctx)
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// slot takes one of the slots of a channel, if there is one.
func (q *Queue) slot(key string) (release func(), ok bool) {
	q.mu.Lock()
	slots := q.slots[key]
	if slots == nil {
		slots = make(chan struct{}, channelSlots)
		q.slots[key] = slots
	}
	q.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, true
	default:
		return nil, false
	}
}
