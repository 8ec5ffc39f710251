package provider

import (
	"context"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// indexExpiring finds the undecided requests of clients that are to be
	// called, by the slot of time in which they expire.
	indexExpiring = "expiring"

	expirySlot  = 10 // seconds
	expiryPause = time.Second
	expiryBatch = 100
)

func expiringIndex(slot int64) store.Index {
	return store.Index{Name: indexExpiring, Value: strconv.FormatInt(slot, 10)}
}

func expirySlotOf(at time.Time) int64 { return at.Unix() / expirySlot }

// runExpiry writes down which requests have expired without a decision, so that
// their clients, who do not poll, are called. It begins with those that have
// expired while nobody was there to see it.
func (p *Provider) runExpiry(ctx context.Context) {
	ticker := time.NewTicker(expiryPause)
	defer ticker.Stop()
	slot := expirySlotOf(p.now().Add(-tombstone))
	for {
		// A clock that is set back brings slots back.
		slot = min(slot, expirySlotOf(p.now()))
		for ; slot <= expirySlotOf(p.now()); slot++ {
			err := p.expireSlot(ctx, slot)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				p.log.Error("looking for expired requests failed, trying again", zap.Error(err))
				break
			}
			if slot == expirySlotOf(p.now()) {
				break // it is not over yet
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// expireSlot writes down the expiry of the requests of one slot.
func (p *Provider) expireSlot(ctx context.Context, slot int64) error {
	after := ""
	for {
		stored, err := p.cfg.Store.List(ctx, kindRequest, expiringIndex(slot), after, expiryBatch)
		if err != nil {
			return err
		}
		for _, record := range stored {
			after = record.ID
			h, err := decodeRequest(record)
			if err != nil {
				p.logUnreadable(record, err)
				continue
			}
			if h.State != StatePending || h.stateAt(p.now()) != StateExpired {
				continue
			}
			err = p.expire(ctx, h)
			if err != nil {
				return err
			}
		}
		if len(stored) < expiryBatch {
			return nil
		}
	}
}
