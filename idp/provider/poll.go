package provider

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	kindPoll = "idp.poll"

	// slowDownStep is by how much the interval grows with each poll that comes
	// too early (CIBA Core 1.0 section 11).
	slowDownStep = 5 * time.Second

	// maxInterval bounds how far it grows.
	maxInterval = time.Minute

	// pollTolerance is by how much a poll may come early: the client measures
	// the interval at its end of the network and we at ours.
	pollTolerance = 500 * time.Millisecond

	// pollSlack is for how long a poll is remembered behind the time that it
	// counts, for nodes whose clocks differ.
	pollSlack = 2 * time.Second
)

// pollRecord is when a request was last polled, and how long the client must wait
// since then. It is a record of its own so that polls do not stand in the way of
// the decision, and wake nobody who waits for it. It need not outlive a crash, and
// is gone when there is nothing to remember: then the next poll is a first one.
type pollRecord struct {
	Last     int64 // Unix milliseconds
	Interval int64 // seconds
}

// encodePoll returns the record as it lies in the store: both numbers as varints.
func encodePoll(p pollRecord) []byte {
	b := make([]byte, 0, 2*binary.MaxVarintLen64)
	b = binary.AppendVarint(b, p.Last)
	return binary.AppendVarint(b, p.Interval)
}

func decodePoll(data []byte) (pollRecord, error) {
	d := recordReader{rest: string(data)}
	p := pollRecord{Last: d.number(), Interval: d.number()}
	if d.failed || d.rest != "" {
		return pollRecord{}, errUnreadableRecord
	}
	return p, nil
}

// throttle notes a poll of a pending request, or returns slow_down if the client
// has not waited. Each slow_down makes the interval five seconds longer for the
// rest of the request, as the client is told to do itself. The first poll is free.
// The record that it returns is the one that it has written. The poll may then be
// held for as long as the client wishes.
func (p *Provider) throttle(ctx context.Context, h *heldRequest, wish time.Duration) (*store.Record, error) {
	now := p.now()
	interval := time.Duration(h.Interval) * time.Second
	stored, err := p.cfg.Store.Get(ctx, kindPoll, h.id)
	if errors.Is(err, store.ErrNotFound) {
		first := newPollRecord(h, now, interval, wish)
		err = p.cfg.Store.Create(ctx, first)
		return first, pollError(err, false, interval)
	}
	if err != nil {
		return nil, unavailable(fmt.Errorf("reading poll: %w", err))
	}
	poll, err := decodePoll(stored.Data)
	if err != nil {
		return nil, fmt.Errorf("decoding poll: %w", err)
	}
	interval = time.Duration(poll.Interval) * time.Second
	early := now.Before(time.UnixMilli(poll.Last).Add(interval - pollTolerance))
	if early {
		interval = min(interval+slowDownStep, maxInterval)
	}
	next := newPollRecord(h, now, interval, wish)
	next.Version = stored.Version
	err = p.cfg.Store.Update(ctx, next)
	return next, pollError(err, early, interval)
}

// pollError turns the result of writing down a poll into its answer. If another
// poll was written at the same time, this one is too early.
func pollError(err error, early bool, interval time.Duration) error {
	switch {
	case errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict):
		return slowDown(interval)
	case err != nil:
		return unavailable(fmt.Errorf("writing poll: %w", err))
	case early:
		return slowDown(interval)
	}
	return nil
}

func newPollRecord(h *heldRequest, last time.Time, interval, wish time.Duration) *store.Record {
	data := encodePoll(pollRecord{Last: last.UnixMilli(), Interval: int64(interval / time.Second)})
	expires := h.expires().Add(time.Minute)
	if interval == time.Duration(h.Interval)*time.Second {
		// The client may poll again before that, and has nothing to answer for.
		expires = last.Add(interval + wish + pollSlack)
	}
	return &store.Record{Kind: kindPoll, ID: h.id, Data: data, Expires: expires, Relaxed: true}
}

func slowDown(interval time.Duration) *oauthError {
	e := refuse(codeSlowDown, "The client polls too fast.")
	e.retryAfter = interval
	return e
}

func isSlowDown(err error) bool {
	e, ok := errors.AsType[*oauthError](err)
	return ok && e.code == codeSlowDown
}
