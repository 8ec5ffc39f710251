package provider

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// indexOutbox finds the decided requests whose clients are still to be told.
	indexOutbox = "outbox"

	outboxBatch = 100
	outboxAtOne = 8 // pings at a time
	outboxIdle  = 30 * time.Second
)

var outboxIndex = store.Index{Name: indexOutbox, Value: "ping"}

// startOutbox begins to send pings, if there is a client that gets any. Every node
// runs an outbox over the same store, and what a node owed when it went down is
// sent by the others or by its successor.
func (p *Provider) startOutbox(ctx context.Context) {
	p.outbox.Do(func() {
		for _, c := range p.clients {
			if c.DeliveryMode == DeliveryPing {
				p.background.run(ctx, 0, p.runOutbox)
				return
			}
		}
	})
}

func (p *Provider) runOutbox(ctx context.Context) {
	defer p.callbacks.CloseIdleConnections()
	changes, stop := p.cfg.Store.WatchIndex(kindRequest, outboxIndex)
	defer stop()
	for {
		next, err := p.emptyOutbox(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.log.Error("outbox failed, trying again", zap.Error(err))
			next = pingFirstRetry
		}
		timer := time.NewTimer(next)
		select {
		case <-changes:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// emptyOutbox sends what is due and returns how long it is until something else
// will be.
func (p *Provider) emptyOutbox(ctx context.Context) (time.Duration, error) {
	next := outboxIdle
	slots := make(chan struct{}, outboxAtOne)
	var sending sync.WaitGroup
	defer sending.Wait()
	after := ""
	for {
		stored, err := p.cfg.Store.List(ctx, kindRequest, outboxIndex, after, outboxBatch)
		if err != nil {
			return 0, err
		}
		for _, record := range stored {
			after = record.ID
			h, err := decodeRequest(record)
			if err != nil {
				return 0, err
			}
			due := time.UnixMilli(h.Ping.Next).Sub(p.now())
			if due > 0 {
				next = min(next, due)
				continue
			}
			// A ping that fails comes again after the first wait at the earliest.
			next = min(next, pingFirstRetry)
			slots <- struct{}{}
			sending.Go(func() {
				defer func() { <-slots }()
				err := p.deliver(ctx, h)
				if err != nil {
					p.log.Error("ping failed", zap.String("request", h.id), zap.Error(err))
				}
			})
		}
		if len(stored) < outboxBatch {
			return next, nil
		}
	}
}
