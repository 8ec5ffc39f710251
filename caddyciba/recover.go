package caddyciba

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// settleInterval is how long a store that is down is left alone before the
	// next request tries to settle what is left.
	settleInterval = time.Second

	// settleLogInterval keeps a store that stays down from filling the log.
	settleLogInterval = time.Minute
)

// A rest is what an earlier process has left behind, until it is settled.
type rest struct {
	settled atomic.Bool

	mu     sync.Mutex
	tried  time.Time
	logged time.Time
}

// settleRest settles what an earlier process has left behind, until that has
// worked once: what was being sent when that process ended is in doubt now. It
// runs when a configuration starts, and with requests while the store is down.
// Nobody waits for somebody else who is at it.
func (g *gate) settleRest(ctx context.Context) {
	if g.rest.settled.Load() || !g.rest.mu.TryLock() {
		return
	}
	defer g.rest.mu.Unlock()
	now := time.Now()
	if now.Sub(g.rest.tried) < settleInterval {
		return
	}
	g.rest.tried = now
	err := g.settle(ctx)
	if err == nil {
		g.rest.settled.Store(true)
		return
	}
	if now.Sub(g.rest.logged) < settleLogInterval {
		return
	}
	g.rest.logged = now
	g.reports.Load().logger.Error("the store is not available; requests that need approval are refused until it is",
		zap.String("issuer", g.issuer), zap.Error(err))
}

// settle ends the transactions of dead processes, and names them in the log.
func (g *gate) settle(ctx context.Context) error {
	found, err := g.engine.Journal().Recover(ctx, g.exclusive)
	logger := g.reports.Load().logger
	for _, id := range found.InDoubt {
		logger.Error("a request was being sent when its process ended; whether it was carried out is not known, and it is not sent again",
			zap.String("transaction", id), zap.String("issuer", g.issuer))
	}
	if len(found.Failed) > 0 {
		logger.Warn("requests were waiting for approval when their process ended; nothing was sent",
			zap.Strings("transactions", found.Failed), zap.String("issuer", g.issuer))
	}
	if err != nil {
		return fmt.Errorf("settling what an earlier process has left: %w", err)
	}
	return nil
}
