package stepup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrDrained is the cause of what ends because the process does.
var ErrDrained = errors.New("gate is being drained")

// drainRetryAfter is when a caller may try again: by then another process has
// taken over, or this one is back.
const drainRetryAfter = 5 * time.Second

// Drain answers everything that waits for approval with gateway-unavailable,
// withdraws what customers are asked for it, and refuses what comes after it,
// until Resume. What is being sent goes on; see Idle. Drain returns when nothing
// waits any more, or with an error when ctx ends.
//
// It is for a process that is about to end: callers learn at once that nothing
// was sent, and nobody approves what will not be sent.
func (g *Gate) Drain(ctx context.Context) error {
	g.door.shut()
	err := g.door.await(ctx, func(d *door) bool { return d.waiting == 0 })
	if err != nil {
		return fmt.Errorf("draining gate: %w", err)
	}
	return nil
}

// Resume takes requests again after Drain. Without a Drain it does nothing.
func (g *Gate) Resume() { g.door.open() }

// Idle returns when nothing is served any more, neither waiting nor being sent,
// or with an error when ctx ends.
func (g *Gate) Idle(ctx context.Context) error {
	err := g.door.await(ctx, func(d *door) bool { return d.inside == 0 })
	if err != nil {
		return fmt.Errorf("waiting for gate: %w", err)
	}
	return nil
}

// door counts who is inside and tells those who wait when the gate is drained.
// It is safe for concurrent use.
type door struct {
	mu       sync.Mutex
	shutting context.Context // ends with Drain
	end      context.CancelCauseFunc

	inside  int           // requests in Serve
	waiting int           // those of them of which nothing may have been sent
	changed chan struct{} // closed when a number falls; nil when nobody looks
}

func newDoor() *door {
	d := &door{}
	d.shutting, d.end = context.WithCancelCause(context.Background())
	return d
}

func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(ErrDrained)
}

func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shutting.Err() != nil {
		d.shutting, d.end = context.WithCancelCause(context.Background())
	}
}

// await returns when done is true, which is asked with the lock held.
func (d *door) await(ctx context.Context, done func(*door) bool) error {
	for {
		d.mu.Lock()
		if done(d) {
			d.mu.Unlock()
			return nil
		}
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// visit is one request inside. One goroutine uses it.
type visit struct {
	door *door
	sent bool
	stop func() bool
	end  context.CancelCauseFunc
}

// enter counts a request that waits, and returns the context that ends with the
// caller's or when the gate is drained.
func (d *door) enter(caller context.Context) (context.Context, *visit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside++
	d.waiting++
	ctx, end := context.WithCancelCause(caller)
	if d.shutting.Err() != nil {
		end(ErrDrained) // AfterFunc would do it a moment later
	}
	stop := context.AfterFunc(d.shutting, func() { end(ErrDrained) })
	return ctx, &visit{door: d, stop: stop, end: end}
}

// sending takes the request out of those that wait.
func (v *visit) sending() {
	v.door.mu.Lock()
	defer v.door.mu.Unlock()
	v.sent = true
	v.door.waiting--
	v.door.wake()
}

// leave counts the request out.
func (v *visit) leave() {
	v.stop()
	v.end(nil)
	v.door.mu.Lock()
	defer v.door.mu.Unlock()
	v.door.inside--
	if !v.sent {
		v.door.waiting--
	}
	v.door.wake()
}

func (d *door) wake() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// drained is the refusal of a request that ends because the process does.
func drained(err error) *Refusal {
	if !errors.Is(err, ErrDrained) {
		err = errors.Join(ErrDrained, err)
	}
	f := refuse(ProblemUnavailable, "Nothing was sent. The gateway is being restarted; try again.", err)
	f.RetryAfter = drainRetryAfter
	return f
}
