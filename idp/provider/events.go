package provider

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// EventType is what an [Event] tells of.
type EventType string

// Types of events.
const (
	// EventRequested: a request was written down, and its user is about to be
	// told. EventNotified: Config.Notify has returned.
	EventRequested EventType = "requested"
	EventNotified  EventType = "notified"

	// EventApproved, EventDenied, EventExpired, EventCancelled: a request has come
	// to its decision, or will have none. That a request of a poll client has
	// expired is seen when the client polls or the user decides, if at all. An
	// approved request that nobody has collected expires, too. Reason is match_code
	// for a denial by too many wrong numbers.
	EventApproved  EventType = "approved"
	EventDenied    EventType = "denied"
	EventExpired   EventType = "expired"
	EventCancelled EventType = "cancelled"

	// EventRedeemed: the tokens of a request were made. EventRevoked: they were
	// taken back; Reason says why.
	EventRedeemed EventType = "redeemed"
	EventRevoked  EventType = "revoked"

	// EventDelivered, EventUndelivered: a ping or push has reached its client, or
	// was given up.
	EventDelivered   EventType = "delivered"
	EventUndelivered EventType = "undelivered"

	// EventReported: the user says that a request was none of theirs.
	// EventBlocked, EventUnblocked: the user keeps the client away, or no longer.
	EventReported  EventType = "reported"
	EventBlocked   EventType = "blocked"
	EventUnblocked EventType = "unblocked"

	// EventSlowDown: a client was told that it polls too fast.
	EventSlowDown EventType = "slow_down"

	// EventRefused: an authentication request of a proven client was refused
	// before the user was asked. Reason is the error code of the answer, or
	// unknown_user_id for what is masked by Config.MaskUnknownUsers.
	EventRefused EventType = "refused"
)

// Event is something that has happened. It has no secrets in it.
type Event struct {
	// Type is what has happened, and At when.
	Type EventType
	At   time.Time

	// Client and Subject are whom it concerns. Subject is empty where the user
	// is not known.
	Client, Subject string

	// Waited is how long ago the request was made. Zero for EventRefused and
	// EventUnblocked.
	Waited time.Duration

	// Reason tells more, where the type says so.
	Reason string

	// describe makes what Request returns: most events have nobody who reads it.
	describe func() *Request
}

// Request returns the request as it is now, or nil for EventRefused and
// EventUnblocked. It must be called before Config.OnEvent returns.
func (e Event) Request() *Request {
	if e.describe == nil {
		return nil
	}
	return e.describe()
}

// raise tells the application of what has become of a request.
func (p *Provider) raise(ctx context.Context, t EventType, h *heldRequest) {
	p.raiseBecause(ctx, t, h, "")
}

func (p *Provider) raiseBecause(ctx context.Context, t EventType, h *heldRequest, reason string) {
	if p.cfg.OnEvent == nil || isDecoy(h.Subject) {
		return
	}
	now := p.now()
	p.cfg.OnEvent(ctx, Event{
		Type: t, At: now, Client: h.Client, Subject: h.Subject, Reason: reason,
		Waited:   now.Sub(time.UnixMilli(h.Created)),
		describe: func() *Request { return p.describe(h) },
	})
}

// raiseAbout tells the application of something that concerns no request.
func (p *Provider) raiseAbout(ctx context.Context, t EventType, client, subject, reason string) {
	if p.cfg.OnEvent == nil {
		return
	}
	if isDecoy(subject) {
		subject = ""
	}
	p.cfg.OnEvent(ctx, Event{Type: t, At: p.now(), Client: client, Subject: subject, Reason: reason})
}

// refused tells the application that a request was refused before its user was asked,
// and returns the refusal. Faults of ours are none.
func (p *Provider) refused(ctx context.Context, c *client, subject string, err error) error {
	e, ok := errors.AsType[*oauthError](err)
	if ok && e.status < http.StatusInternalServerError {
		p.raiseAbout(ctx, EventRefused, c.ID, subject, e.code)
	}
	return err
}
