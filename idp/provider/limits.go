package provider

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// checkPending refuses a request for a user who has enough of them waiting
// already: a flood of prompts makes people approve what they should not
// (fatigue guard). It is called before a request is written, where it costs
// one read, and again behind it with the id of the new request: of several
// starts at the same time at most as many remain as the limits allow, on any
// number of nodes, since the last one to be written sees all others.
func (p *Provider) checkPending(ctx context.Context, clientID, subject, own string) error {
	stored, err := p.listPending(ctx, subject, maxPendingListed)
	if err != nil {
		return unavailable(err)
	}
	room := 1 // for the request that is not written yet
	if own != "" {
		room = 0
	}
	if len(stored)+room <= min(p.cfg.MaxPendingPerUser, p.cfg.MaxPendingPerUserAndClient) {
		return nil // whosever they are
	}
	held, err := p.decodePending(stored)
	if err != nil {
		return unavailable(err)
	}
	sameClient := 0
	for _, h := range held {
		if h.Client == clientID {
			sameClient++
		}
	}
	if len(held)+room <= p.cfg.MaxPendingPerUser && sameClient+room <= p.cfg.MaxPendingPerUserAndClient {
		return nil
	}
	return tooMany("Too many requests are waiting for the user.", p.nextExpiry(held))
}

// nextExpiry is how long it takes at most until one of the requests is gone.
func (p *Provider) nextExpiry(held []*heldRequest) time.Duration {
	next := p.cfg.MaxRequestLifetime
	now := p.now()
	for _, h := range held {
		next = min(next, h.expires().Sub(now))
	}
	return max(next, time.Second)
}

// indexPrompted finds the requests for a user, whatever has become of them, by the
// window of time in which they were made. It serves to count them: no record of its
// own need be written for each.
const indexPrompted = "prompted"

// promptBatch bounds how many of them are looked at in one window.
const promptBatch = 1000

func (p *Provider) promptWindow(at time.Time) int64 {
	return at.UnixMilli() / p.cfg.Limits.User.Per.Milliseconds()
}

func promptedIndex(subject string, window int64) store.Index {
	return store.Index{Name: indexPrompted, Value: subject + "\t" + strconv.FormatInt(window, 10)}
}

// checkPrompts refuses a request for a user who was asked often enough lately, on
// whatever node (threats T4, B65). One client gets half of what all of them get, so
// that a client gone wild does not shut out the others.
func (p *Provider) checkPrompts(ctx context.Context, subject, client string) error {
	rate := p.cfg.Limits.User
	if !rate.bounds() {
		return nil
	}
	now := p.now()
	window := p.promptWindow(now)
	var stored []*store.Record
	for _, w := range []int64{window, window - 1} {
		found, err := p.cfg.Store.List(ctx, kindRequest, promptedIndex(subject, w), "", promptBatch)
		if err != nil {
			return unavailable(fmt.Errorf("listing requests for the user: %w", err))
		}
		stored = append(stored, found...)
	}
	ownBurst := (rate.Burst + 1) / 2
	if len(stored) < ownBurst {
		return nil // whosever they are, and whenever they were made
	}
	var all, own prompts
	for _, record := range stored {
		h, err := decodeRequest(record)
		if err != nil {
			return err
		}
		made := time.UnixMilli(h.Created)
		if !made.After(now.Add(-rate.Per)) {
			continue
		}
		all.add(made)
		if h.Client == client {
			own.add(made)
		}
	}
	wait := max(all.wait(now, rate.Burst, rate.Per), own.wait(now, ownBurst, rate.Per))
	if wait > 0 {
		return tooMany("The user was asked too often.", wait)
	}
	return nil
}

// prompts counts requests, and remembers the first of them.
type prompts struct {
	count int
	first time.Time
}

func (c *prompts) add(made time.Time) {
	c.count++
	if c.count == 1 || made.Before(c.first) {
		c.first = made
	}
}

// wait returns how long it takes until there is room for one more, at most.
func (c *prompts) wait(now time.Time, burst int, per time.Duration) time.Duration {
	if c.count < burst {
		return 0
	}
	return max(c.first.Add(per).Sub(now), time.Second)
}
