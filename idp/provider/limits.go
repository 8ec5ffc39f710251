package provider

import (
	"context"
	"net/http"
	"time"
)

// checkPending refuses a request for a user who has enough of them waiting
// already: a flood of prompts makes people approve what they should not
// (fatigue guard). It is called before a request is written, where it costs
// one read, and again behind it with the id of the new request: of several
// starts at the same time at most as many remain as the limits allow, on any
// number of nodes, since the last one to be written sees all others.
func (p *Provider) checkPending(ctx context.Context, clientID, subject, own string) error {
	held, err := p.pending(ctx, subject, maxPendingListed)
	if err != nil {
		return unavailable(err)
	}
	room := 1 // for the request that is not written yet
	if own != "" {
		room = 0
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
	return &oauthError{
		status:      http.StatusTooManyRequests,
		code:        codeTooManyRequests,
		description: "Too many requests are waiting for the user.",
		retryAfter:  p.nextExpiry(held),
	}
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
