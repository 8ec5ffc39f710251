package ciba

import (
	"context"
	"time"
)

// Wait polls until the customer has decided, and returns the tokens if they
// satisfy the check.
//
// It polls at p.NextPoll, which Start sets to one interval from its answer and
// each poll to one interval after its own, and earlier when p is notified. It
// bears network faults, 5xx and 429 until the request expires, pausing longer
// each time and for as long as the provider asks. Every other error ends it:
// denial, expiry, refusal of the client, an answer that breaks the protocol, an
// ID Token that does not verify. When p.ExpiresAt has come by our own clock it
// ends with CodeExpiredToken, whatever the provider says. When ctx ends it ends
// at once.
//
// In ping mode the provider's notification moves the poll forward. Without one
// there is a poll after the first interval and every 30 s from then on, in case
// that it gets lost. In push mode nothing is polled; Wait needs the Pending as Start returned it, and a
// PushHandler that knows it.
//
// onPoll, if not nil, is called after each poll with its number, from 1, and its
// error, in the goroutine of the caller.
func (c *Client) Wait(ctx context.Context, p *Pending, check Check, onPoll func(attempt int, err error)) (*Tokens, error) {
	if c.delivery == DeliveryPush {
		return c.receive(ctx, p, check)
	}
	for attempt := 1; ; attempt++ {
		err := c.pause(ctx, p)
		if err != nil {
			return nil, err
		}
		tokens, err := c.poll(ctx, p, "wait")
		c.settle(p, err)
		if err == nil {
			err = c.checkTokens(tokens, check, "wait")
			if err != nil {
				c.discard(ctx, tokens)
			}
		}
		if onPoll != nil {
			onPoll(attempt, err)
		}
		if err == nil {
			return tokens, nil
		}
		if !IsPending(err) && !IsTemporary(err) {
			return nil, err
		}
	}
}

// settleDelay is the time between a signal and the poll that it causes, at a provider
// that needs it. Some providers count a notification as delivered only when they have
// our answer to it, and tell a poll that comes sooner to wait. When one has done that,
// later requests are not as quick. For all others each signal causes a poll at once.
const settleDelay = 200 * time.Millisecond

// settle draws conclusions from the answer to a poll that a signal has caused.
func (c *Client) settle(p *Pending, err error) {
	if p.roused && Code(err) == CodeAuthorizationPending {
		// It was too early for this provider; the decision is there.
		c.settles.Store(true)
		p.NextPoll = c.now().Add(p.Interval)
	}
	p.roused = false
	if !p.woken.IsZero() {
		p.woken = c.now()
	}
}

// pause sleeps until the next poll is due. It returns an error if there will be
// none.
func (c *Client) pause(ctx context.Context, p *Pending) error {
	for {
		err := c.open(ctx, p, "wait")
		if err != nil {
			return err
		}
		now := c.now()
		rest := p.NextPoll.Sub(now)
		if rest <= 0 {
			return nil
		}
		timer := time.NewTimer(min(rest, p.ExpiresAt.Sub(now)))
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-p.Wake:
			p.rouse(c.now(), c.settles.Load())
		}
		timer.Stop()
	}
}

// rouse moves the next poll forward to now, or to when the provider has settled.
// When there were signals before, it comes one interval after the last poll: a flood
// of pings must not become a flood of polls.
func (p *Pending) rouse(now time.Time, settles bool) {
	next := now
	if settles {
		next = next.Add(settleDelay)
	}
	if !p.woken.IsZero() && now.Sub(p.woken) < p.Interval {
		next = p.woken.Add(p.Interval)
	}
	if next.Before(p.NextPoll) {
		p.NextPoll, p.roused = next, true
	}
	if p.woken.IsZero() {
		p.woken = now
	}
}
