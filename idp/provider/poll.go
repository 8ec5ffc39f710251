package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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
)

// pollRecord is when a request was last polled, and how long the client must wait
// since then. It is a record of its own so that polls do not stand in the way of
// the decision, and wake nobody who waits for it.
type pollRecord struct {
	Last     int64 `json:"last"`     // Unix milliseconds
	Interval int64 `json:"interval"` // seconds
}

// throttle returns the answer to a poll of a pending request: errPending, or
// slow_down if the client has not waited. Each slow_down makes the interval five
// seconds longer for the rest of the request, as the client is told to do itself.
// The first poll is free.
func (p *Provider) throttle(ctx context.Context, h *heldRequest) error {
	now := p.now()
	stored, err := p.cfg.Store.Get(ctx, kindPoll, h.id)
	if errors.Is(err, store.ErrNotFound) {
		first := pollRecord{Last: now.UnixMilli(), Interval: h.Interval}
		err = p.cfg.Store.Create(ctx, newPollRecord(h, first))
		switch {
		case errors.Is(err, store.ErrExists):
			return slowDown(time.Duration(h.Interval) * time.Second)
		case err != nil:
			return unavailable(fmt.Errorf("writing poll: %w", err))
		}
		return errPending
	}
	if err != nil {
		return unavailable(fmt.Errorf("reading poll: %w", err))
	}
	var poll pollRecord
	err = json.Unmarshal(stored.Data, &poll)
	if err != nil {
		return fmt.Errorf("decoding poll: %w", err)
	}
	interval := time.Duration(poll.Interval) * time.Second
	early := now.Before(time.UnixMilli(poll.Last).Add(interval - pollTolerance))
	if early {
		interval = min(interval+slowDownStep, maxInterval)
	}
	next := newPollRecord(h, pollRecord{Last: now.UnixMilli(), Interval: int64(interval / time.Second)})
	next.Version = stored.Version
	err = p.cfg.Store.Update(ctx, next)
	switch {
	case errors.Is(err, store.ErrConflict):
		// Another poll came at the same time, so this one is too early.
		return slowDown(interval)
	case err != nil:
		return unavailable(fmt.Errorf("writing poll: %w", err))
	case early:
		return slowDown(interval)
	}
	return errPending
}

func newPollRecord(h *heldRequest, poll pollRecord) *store.Record {
	data := make([]byte, 0, 48)
	data = append(data, `{"last":`...)
	data = strconv.AppendInt(data, poll.Last, 10)
	data = append(data, `,"interval":`...)
	data = strconv.AppendInt(data, poll.Interval, 10)
	data = append(data, '}')
	return &store.Record{Kind: kindPoll, ID: h.id, Data: data, Expires: h.expires().Add(time.Minute)}
}

func slowDown(interval time.Duration) *oauthError {
	e := refuse(codeSlowDown, "The client polls too fast.")
	e.retryAfter = interval
	return e
}
