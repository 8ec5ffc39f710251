package provider

import (
	"context"
	"sync"
	"time"
)

// notifyTimeout bounds one call of Config.Notify.
const notifyTimeout = 30 * time.Second

// background counts work that outlives the HTTP request that it began with.
type background struct {
	mu      sync.Mutex
	closed  bool
	done    chan struct{} // closed by close
	cancels map[int]context.CancelFunc
	begun   int
	wg      sync.WaitGroup
}

// run calls f in a goroutine, unless the background was closed. The context
// carries the values of ctx, and ends after timeout, if that is not zero, or with
// close.
func (b *background) run(ctx context.Context, timeout time.Duration, f func(ctx context.Context)) {
	ctx = context.WithoutCancel(ctx)
	var cancel context.CancelFunc
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		cancel()
		return
	}
	b.begun++
	number := b.begun
	if b.cancels == nil {
		b.cancels = make(map[int]context.CancelFunc)
	}
	b.cancels[number] = cancel
	b.wg.Go(func() {
		defer b.end(number, cancel)
		f(ctx)
	})
}

// end forgets work that is done.
func (b *background) end(number int, cancel context.CancelFunc) {
	cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.cancels, number)
}

// close ends all work and waits for it.
func (b *background) close() {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.done)
	}
	for _, cancel := range b.cancels {
		cancel()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// notify tells the application of a new request. It never delays or fails the
// answer to the client (CIBA Core 1.0 section 7.3): how long a notification takes,
// or that there was none, would tell who is a customer.
func (p *Provider) notify(ctx context.Context, h *heldRequest) {
	if p.cfg.Notify == nil || p.cfg.Notifies != nil && !p.cfg.Notifies() {
		return
	}
	p.background.run(ctx, notifyTimeout, func(ctx context.Context) {
		if isDecoy(h.Subject) {
			return // there is nobody to tell, which takes as long
		}
		p.cfg.Notify(ctx, p.describe(h))
		p.raise(ctx, EventNotified, h)
	})
}
