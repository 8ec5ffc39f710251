package provider

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// indexOutbox finds the requests that have come to an end and whose clients
	// are still to be called.
	indexOutbox = "outbox"

	outboxBatch = 100
	outboxIdle  = 30 * time.Second
)

// Retrying of calls. Tokens are pushed for as long as the request lasts, everything
// else callbackAttempts times at most.
const (
	callbackAttempts   = 8
	callbackFirstRetry = time.Second
	callbackLastRetry  = 30 * time.Second
)

var outboxIndex = store.Index{Name: indexOutbox, Value: "callback"}

// startOutbox begins to call clients, if there is one that wants it. Every node
// runs an outbox over the same store, and what a node owed when it went down is
// sent by the others or by its successor.
func (p *Provider) startOutbox(ctx context.Context) {
	p.outbox.Do(func() {
		for _, c := range p.clients {
			if c.isCalled() {
				p.background.run(ctx, 0, p.runOutbox)
				p.background.run(ctx, 0, p.runExpiry)
				return
			}
		}
	})
}

func (p *Provider) runOutbox(ctx context.Context) {
	defer p.callbacks.CloseIdleConnections()
	changes, stop := p.cfg.Store.WatchIndex(kindRequest, outboxIndex)
	defer stop()
	lanes := newLanes(func(h *heldRequest) { p.finish(ctx, h) })
	defer lanes.wait()
	for {
		next, err := p.fillLanes(ctx, lanes)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.log.Error("outbox failed, trying again", zap.Error(err))
			next = callbackFirstRetry
		}
		timer := time.NewTimer(next)
		select {
		case <-changes:
		case <-lanes.more:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// fillLanes hands out what is due and returns how long it is until something else
// will be.
func (p *Provider) fillLanes(ctx context.Context, lanes *lanes) (time.Duration, error) {
	next := outboxIdle
	after := ""
	for {
		stored, err := p.cfg.Store.List(ctx, kindRequest, outboxIndex, after, outboxBatch)
		if err != nil {
			return 0, err
		}
		for _, record := range stored {
			after = record.ID
			h, err := decodeRequest(record)
			if err == nil && h.Callback == nil {
				err = errors.New("it owes nothing")
			}
			if err != nil {
				p.logUnreadable(record, err)
				continue
			}
			due := time.UnixMilli(h.Callback.Next).Sub(p.now())
			if due > 0 {
				next = min(next, due)
				continue
			}
			// A call that fails comes again after the first wait at the earliest, and
			// one whose record has changed meanwhile is looked at again by then.
			next = min(next, callbackFirstRetry)
			lanes.add(h)
		}
		if len(stored) < outboxBatch {
			return next, nil
		}
	}
}

// logUnreadable tells of a record that work in the background leaves out: what is
// wrong with one is not to stop what is done for all others.
func (p *Provider) logUnreadable(record *store.Record, err error) {
	p.log.Error("leaving out a request that can not be read", zap.String("request", record.ID), zap.Error(err))
}

// finish delivers, and is not broken off by Close: if a client has been called and
// nobody writes it down, the next one to look calls it again. It is a matter of
// callbackTimeout, mostly.
func (p *Provider) finish(ctx context.Context, h *heldRequest) {
	if ctx.Err() != nil {
		return // nothing has begun yet, and others will do it
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*callbackTimeout)
	defer cancel()
	err := p.deliver(ctx, h)
	if err != nil {
		p.log.Error("callback failed", zap.String("request", h.id), zap.Error(err))
	}
}

// deliver tries once to call the client of a request. Nothing that goes wrong here
// has an influence on the decision (CIBA checklist P6). A client that was disabled,
// or that is now registered for another way of delivery, is not called.
func (p *Provider) deliver(ctx context.Context, h *heldRequest) error {
	c := p.clients[h.Client]
	switch {
	case c == nil || c.Disabled:
	case h.Callback.Push && c.DeliveryMode == DeliveryPush:
		return p.deliverPush(ctx, c, h)
	case !h.Callback.Push && c.DeliveryMode == DeliveryPing:
		return p.deliverPing(ctx, c, h)
	}
	if h.State == StateRedeemed {
		return p.revoke(ctx, h.id, "the client is no longer called")
	}
	return p.settle(ctx, h)
}

// claim takes the next attempt at a call by one conditional write, which may also
// take the request to another state, so that of several nodes one sends. It reports
// false if another node was first, or the client has come by itself.
func (p *Provider) claim(ctx context.Context, h *heldRequest, to State, change func(*requestRecord)) (bool, error) {
	next := *h.Callback
	next.Attempts++
	wait := min(callbackFirstRetry<<min(next.Attempts-1, 16), callbackLastRetry)
	next.Next = p.now().Add(callbackTimeout + wait).UnixMilli()
	err := p.move(ctx, h, to, func(r *requestRecord) {
		r.Callback = &next
		if change != nil {
			change(r)
		}
	})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// settle writes down that nothing is owed any more.
func (p *Provider) settle(ctx context.Context, h *heldRequest) error {
	err := p.move(ctx, h, h.State, func(r *requestRecord) { r.Callback = nil })
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil // the client was faster, or the tokens were revoked
	}
	return err
}

// call posts once, and gives up what was tried too often. Tokens are brought for as
// long as the request lasts.
func (p *Provider) call(ctx context.Context, c *client, h *heldRequest, token string, v any) (sent, error) {
	result, err := p.post(ctx, c, token, v)
	if result == sentAgain && h.State != StateRedeemed && h.Callback.Attempts >= callbackAttempts {
		return sentRefused, err
	}
	return result, err
}

// noteCall tells of how a call has ended.
func (p *Provider) noteCall(ctx context.Context, h *heldRequest, result sent, cause error) {
	switch result {
	case sentDone:
		p.raise(ctx, EventDelivered, h)
	case sentRefused:
		p.raise(ctx, EventUndelivered, h)
	}
	mode := DeliveryPing
	if h.Callback.Push {
		mode = DeliveryPush
	}
	p.log.Info("client called", zap.String("request", h.id), zap.String("client", h.Client), zap.String("mode", mode),
		zap.Int("attempt", h.Callback.Attempts), zap.Bool("delivered", result == sentDone), zap.NamedError("cause", cause))
}
