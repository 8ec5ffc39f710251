package ciba

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const grantType = "urn:openid:params:grant-type:ciba"

const (
	// slowDownStep is what slow_down adds to the interval (CIBA Core section 11).
	slowDownStep = 5 * time.Second

	// maxLongPoll is how long a provider may hold a poll (CIBA Core section 10.1).
	maxLongPoll = 30 * time.Second

	// maxFaultPause bounds the pause between polls while the provider fails.
	maxFaultPause = 30 * time.Second
)

var errPastDeadline = errors.New("request has passed its own deadline")

// Poll asks once whether the customer has decided (CIBA Core section 10.1). It
// does not wait for p.NextPoll: the caller paces the polls, or uses Wait. It
// updates p.NextPoll in any case, and p.Interval where the provider says
// slow_down.
//
// The tokens come back only if the ID Token verifies as this provider's, for this
// client and for this request; what else it has to say is for CheckTokens. An
// approval is redeemed only if the provider's keys are at hand. After p.ExpiresAt
// no request is made and the error is CodeExpiredToken.
//
// A provider may hold a poll for up to 30 seconds; Poll then returns when it
// answers. Ending ctx ends the poll at once.
func (c *Client) Poll(ctx context.Context, p *Pending) (*Tokens, error) {
	return c.poll(ctx, p, "poll")
}

func (c *Client) poll(ctx context.Context, p *Pending, op string) (*Tokens, error) {
	err := c.open(ctx, p, op)
	if err != nil {
		return nil, err
	}
	// An answer that comes after the deadline is not taken, so it is not waited
	// for either.
	bounded, cancel := context.WithTimeout(ctx, p.ExpiresAt.Sub(c.now()))
	defer cancel()
	sent := c.now()
	tokens, err := c.redeem(bounded, p, op)
	if Code(err) == CodeCanceled {
		if ctx.Err() == nil {
			return nil, expired(op)
		}
		return nil, canceled(ctx, op)
	}
	p.pace(sent, c.now(), err)
	return tokens, err
}

// open says why p is not to be polled any more, if so.
func (c *Client) open(ctx context.Context, p *Pending, op string) error {
	if ctx.Err() != nil {
		return canceled(ctx, op)
	}
	if !c.now().Before(p.ExpiresAt) {
		return expired(op)
	}
	return nil
}

func expired(op string) *Error {
	return &Error{Op: op, Code: CodeExpiredToken, Err: errPastDeadline}
}

// redeem makes the token request and judges the answer.
func (c *Client) redeem(ctx context.Context, p *Pending, op string) (*Tokens, error) {
	md, err := c.ready(ctx, op)
	if err != nil {
		return nil, err
	}
	form := url.Values{
		"grant_type":  {grantType},
		"auth_req_id": {p.AuthReqID},
	}
	header := http.Header{}
	if c.longPoll >= time.Second {
		header.Set("Prefer", "wait="+strconv.Itoa(int(c.longPoll/time.Second)))
	}
	a, key, err := c.postProved(ctx, op, c.mtls.token(md), header, form, pollTimeout)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, a.failure()
	}
	o, err := a.object()
	if err != nil {
		return nil, err
	}
	t, err := parseTokens(o, c.now())
	if err != nil {
		return nil, a.broken("%w", err)
	}
	err = c.verify(ctx, op, t, binding{authReqID: p.AuthReqID})
	if err != nil {
		return nil, err
	}
	err = c.constrain(op, t, key)
	if err != nil {
		c.discard(ctx, t)
		return nil, err
	}
	return t, nil
}

// pace sets the time of the next poll after one that was sent and answered at
// the given times. The pause runs from the answer, so that two polls never
// overlap. Where the provider has held the poll for an interval or longer and
// then says that nothing is decided, the pause is over already: it is measured
// from the sending of a poll in long polling (CIBA Core section 10.1).
func (p *Pending) pace(sent, answered time.Time, err error) {
	if p.Interval <= 0 {
		p.Interval = defaultInterval
	}
	if Code(err) == CodeSlowDown {
		p.Interval += slowDownStep
	}
	pause := p.scheduled()
	if IsTemporary(err) {
		pause = p.faultPause(err)
		p.faults++
	} else {
		p.faults = 0
	}
	p.NextPoll = answered.Add(pause)
	if Code(err) == CodeAuthorizationPending && answered.Sub(sent) >= p.Interval {
		p.NextPoll = answered
	}
}

// faultPause doubles with each failure in a row up to maxFaultPause. It is never
// below the interval nor below what the provider asks for.
func (p *Pending) faultPause(err error) time.Duration {
	pause := min(p.Interval<<min(p.faults, 8), maxFaultPause)
	var e *Error
	if errors.As(err, &e) {
		pause = max(pause, e.RetryAfter)
	}
	return max(pause, p.Interval)
}
