package caddyciba

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

const (
	// settleInterval is how long a store that is down is left alone before the
	// next request tries to settle what is left.
	settleInterval = time.Second

	// settleAgain is the time between two times that it has worked, and
	// settleShared that where other nodes use the store: what one of them leaves
	// must not wait long.
	settleAgain  = time.Minute
	settleShared = 10 * time.Second

	// settleLogInterval keeps a store that stays down from filling the log.
	settleLogInterval = time.Minute
)

// A rest is what processes that have ended have left behind, and the end of
// transactions that the store has not taken.
type rest struct {
	mu      sync.Mutex
	settled time.Time // the last time that it worked
	tried   time.Time
	logged  time.Time
}

// settleRest settles what others have left behind: what was being sent when a
// process ended is in doubt now. It runs when a configuration starts, with
// requests while the store is down, and every now and then, as another process that
// uses the store can end at any time. Nobody waits for somebody else who is at it.
func (g *gate) settleRest(ctx context.Context) {
	if !g.rest.mu.TryLock() {
		return
	}
	defer g.rest.mu.Unlock()
	now := time.Now()
	if now.Sub(g.rest.tried) < settleInterval || now.Sub(g.rest.settled) < g.settlePeriod()*9/10 {
		return
	}
	g.rest.tried = now
	err := g.settle(ctx)
	if err == nil {
		g.rest.settled = now
		return
	}
	if ctx.Err() != nil {
		return
	}
	if now.Sub(g.rest.logged) < settleLogInterval {
		return
	}
	g.rest.logged = now
	g.reports.Load().logger.Error("the store is not available; requests that need approval are refused until it is",
		zap.String("issuer", g.issuer), zap.Error(err))
}

// settlePeriod is the time between two times that the rest is settled.
func (g *gate) settlePeriod() time.Duration {
	if g.exclusive {
		return settleAgain
	}
	return settleShared
}

// settleRegularly settles where no requests come, until its context ends.
func (g *gate) settleRegularly(ctx context.Context) {
	defer close(g.stopped)
	ticker := time.NewTicker(g.settlePeriod())
	defer ticker.Stop()
	life := time.NewTicker(stepup.BeatInterval)
	defer life.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.settleRest(ctx)
		case <-life.C:
			if g.beat.begun() {
				g.beatIfDue(ctx)
			}
		}
	}
}

// A beat is when this process has last said that it lives, to others that share
// its store. It begins with the first request that is kept.
type beat struct {
	mu   sync.Mutex
	last time.Time
}

func (b *beat) begun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.last.IsZero()
}

// beatIfDue says that this process lives, where others could not know. If the
// store does not take it, others may take up what this process is at; a request
// is sent once all the same.
func (g *gate) beatIfDue(ctx context.Context) {
	if g.exclusive {
		return
	}
	g.beat.mu.Lock()
	defer g.beat.mu.Unlock()
	if time.Since(g.beat.last) < stepup.BeatInterval/2 {
		return
	}
	err := g.engine.Journal().Beat(ctx)
	if err != nil {
		g.reports.Load().logger.Warn("other nodes could not be told that this one lives", zap.Error(err))
		return
	}
	g.beat.last = time.Now()
}

// settle ends the transactions of dead processes, and names them in the log.
func (g *gate) settle(ctx context.Context) error {
	found, err := g.engine.Journal().Recover(ctx, g.exclusive)
	logger := g.reports.Load().logger
	for _, id := range found.InDoubt {
		logger.Error("a request was being sent when its process ended; whether it was carried out is not known, and it is not sent again",
			zap.String("transaction", id), zap.String("issuer", g.issuer))
		t, err := g.engine.Journal().Get(ctx, id)
		if err != nil {
			logger.Warn("no event was emitted for a transaction in doubt", zap.String("transaction", id), zap.Error(err))
			continue
		}
		g.noteTransaction(ctx, string(stepup.EventInDoubt), t, string(t.Problem), "its process has ended")
		g.observe(stepup.Event{Type: stepup.EventInDoubt, Time: time.Now(), Route: t.Route, Transaction: t, Problem: t.Problem})
	}
	if len(found.Answered) > 0 {
		logger.Info("requests had been answered when their process ended", zap.Strings("transactions", found.Answered), zap.String("issuer", g.issuer))
	}
	takenUp := g.engine.TakeUp(ctx, found.Orphans)
	if takenUp != nil {
		logger.Error("requests that an earlier process has left could not be taken up", zap.String("issuer", g.issuer), zap.Error(takenUp))
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
