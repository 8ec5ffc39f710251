package ciba

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// firstBackoff is the pause after one failed fetch; it doubles with each
	// further one up to lastBackoff.
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
)

// cached is a document of the provider that is fetched when it is needed and
// kept for a while. Any number of callers may ask at once: one fetch serves all
// of them, and each stops waiting when its own context ends. A fetch that nobody
// waits for any more is cut short.
type cached[T any] struct {
	fetch func(context.Context) (T, error)
	now   func() time.Time

	// fresh is the age up to which the document is used without asking. Between
	// fresh and usable it is fetched anew, and the one at hand serves if that
	// fails. Beyond usable it is not used at all.
	fresh, usable time.Duration

	mu        sync.Mutex
	value     T
	fetched   time.Time // of value; zero if there is none
	attempted time.Time // end of the last fetch, good or bad
	failures  int       // in a row
	err       error     // of the last fetch
	flight    *flight
}

// flight is one fetch under way.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int
}

// get returns the document, fetching it if the one at hand is not fresh.
func (d *cached[T]) get(ctx context.Context) (T, error) {
	return d.load(ctx, d.fresh, 0)
}

// renewed returns a document that is younger than the given age, unless a fetch
// ended less than that long ago: then the one at hand has to do. That bounds the
// fetches which somebody else's input can cause.
func (d *cached[T]) renewed(ctx context.Context, age time.Duration) (T, error) {
	return d.load(ctx, age, age)
}

func (d *cached[T]) load(ctx context.Context, fresh, pause time.Duration) (T, error) {
	var none T
	err := ctx.Err()
	if err != nil {
		return none, err
	}
	d.mu.Lock()
	now := d.now()
	if d.within(now, fresh) {
		defer d.mu.Unlock()
		return d.value, nil
	}
	if d.flight == nil {
		rest := d.attempted.Add(max(pause, d.backoff())).Sub(now)
		// A clock that was set back must not turn the pause into a ban.
		if !d.attempted.IsZero() && rest > 0 && rest <= max(pause, lastBackoff) {
			defer d.mu.Unlock()
			return d.settle(now, rest)
		}
		d.launch(ctx)
	}
	f := d.flight
	f.waiters++
	d.mu.Unlock()

	select {
	case <-f.done:
	case <-ctx.Done():
		d.leave(f)
		return none, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settle(d.now(), 0)
}

// settle answers with what there is after a fetch, or instead of one: the
// document if it is still usable, else why there is none.
func (d *cached[T]) settle(now time.Time, rest time.Duration) (T, error) {
	if d.within(now, d.usable) {
		return d.value, nil
	}
	var none T
	var e *Error
	if errors.As(d.err, &e) && rest > 0 {
		later := *e
		later.RetryAfter = max(later.RetryAfter, rest)
		return none, &later
	}
	if d.err == nil {
		return none, errors.New("document is too old and was fetched a moment ago")
	}
	return none, d.err
}

func (d *cached[T]) within(now time.Time, age time.Duration) bool {
	return !d.fetched.IsZero() && now.Sub(d.fetched) < age
}

func (d *cached[T]) backoff() time.Duration {
	if d.failures == 0 {
		return 0
	}
	return min(firstBackoff<<min(d.failures-1, 10), lastBackoff)
}

// launch begins a fetch that outlives the caller which happens to need it first,
// because others may join. Its goroutine ends with the fetch, which is bounded
// by a timeout of its own.
func (d *cached[T]) launch(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{done: make(chan struct{}), cancel: cancel}
	d.flight = f
	go func() {
		value, err := d.fetch(ctx)
		d.land(f, value, err)
	}()
}

func (d *cached[T]) land(f *flight, value T, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.cancel()
	if d.flight == f {
		d.flight = nil
		d.attempted = d.now()
		d.err = err
		if err == nil {
			d.value, d.fetched, d.failures = value, d.attempted, 0
		} else {
			d.failures++
		}
	}
	close(f.done)
}

// leave takes a caller out of a fetch. The last one out ends it, and its failure
// then counts for nothing.
func (d *cached[T]) leave(f *flight) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.waiters--
	if f.waiters == 0 && d.flight == f {
		d.flight = nil
		f.cancel()
	}
}

// fetchFailure gives a failed fetch the name of the operation it was part of.
func fetchFailure(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return canceled(ctx, op)
	}
	var e *Error
	if errors.As(err, &e) {
		return inOp(op, err)
	}
	return &Error{Op: op, Code: CodeUnavailable, Err: fmt.Errorf("fetching document: %w", err)}
}
