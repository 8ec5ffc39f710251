package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// longPollWish returns for how long a poll may be held. Zero means not at all.
func (p *Provider) longPollWish(r *http.Request, c *client) time.Duration {
	most := max(p.cfg.LongPoll, 0)
	for _, header := range r.Header["Prefer"] {
		for preference := range strings.SplitSeq(header, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 16)
			if err == nil && strings.EqualFold(name, "wait") {
				return min(time.Duration(seconds)*time.Second, most)
			}
		}
	}
	if c.LongPoll {
		return most
	}
	return 0
}

// holdPoll waits until a pending request is decided, on whatever node, and returns
// it as it is then. It gives up when the time is over, the request expires, the
// client leaves, the provider closes, or the client polls again: of two polls at
// the same time the older one is answered (CIBA Core 1.0 section 10.1).
func (p *Provider) holdPoll(ctx context.Context, h *heldRequest, poll *store.Record, wish time.Duration) (*heldRequest, error) {
	wait := min(wish, h.expires().Sub(p.now()))
	if wait <= 0 {
		return h, nil
	}
	defer p.heldPolls.Add(-1)
	if p.heldPolls.Add(1) > int64(p.cfg.MaxHeldPolls) {
		return h, nil
	}
	decided, stopDecided := p.cfg.Store.Watch(kindRequest, h.id)
	defer stopDecided()
	polled, stopPolled := p.cfg.Store.Watch(kindPoll, h.id)
	defer stopPolled()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		// Both records are read behind Watch, so that no change is missed.
		current, err := p.reload(ctx, h)
		if err != nil {
			return nil, err
		}
		if current.stateAt(p.now()) != StatePending {
			return current, nil
		}
		overtaken, err := p.overtaken(ctx, poll)
		if err != nil {
			return nil, err
		}
		if overtaken {
			return current, nil
		}
		select {
		case <-decided:
		case <-polled:
		case <-timer.C:
			return p.reload(ctx, current)
		case <-p.background.done:
			return current, nil
		case <-ctx.Done():
			return nil, unavailable(fmt.Errorf("holding poll: %w", ctx.Err()))
		}
	}
}

// overtaken reports whether a later poll was written down.
func (p *Provider) overtaken(ctx context.Context, poll *store.Record) (bool, error) {
	latest, err := p.cfg.Store.Get(ctx, kindPoll, poll.ID)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, unavailable(fmt.Errorf("reading poll: %w", err))
	}
	return latest.Version != poll.Version, nil
}

// reload reads a request once more.
func (p *Provider) reload(ctx context.Context, h *heldRequest) (*heldRequest, error) {
	current, err := p.loadRequest(ctx, h.id)
	if errors.Is(err, ErrNotFound) {
		return nil, errUnknownAuthReqID
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return current, nil
}
