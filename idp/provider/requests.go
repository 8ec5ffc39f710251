package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// maxPendingListed bounds how many requests Pending returns.
const maxPendingListed = 100

// Request is an authentication request as the user's application sees it.
type Request struct {
	// ID is the public id of the request. It is not the auth_req_id, and knowing
	// it gives no access to tokens.
	ID string

	// Subject is the user who is asked.
	Subject string

	// Client is who asks.
	Client ClientInfo

	// BindingMessage is what the client wants shown. It consists of letters,
	// digits, punctuation, currency signs and spaces, and must be shown in
	// full and escaped for the medium.
	BindingMessage string

	// Place is where the request was made, as the client says in the member place of
	// request_context. It is plain text of at most 64 characters; empty if the client
	// says nothing.
	Place string

	// Scopes are the scopes asked for, with their definitions.
	Scopes []Scope

	// ACRValues are the authentication context classes that the client takes,
	// in its order of preference. An approval must have one of them. Empty:
	// any will do.
	ACRValues []string

	// Details are the authorization details to be approved, row by row, and
	// AuthorizationDetails the JSON array itself. Empty if there are none.
	Details              []Detail
	AuthorizationDetails json.RawMessage

	// Granted are the names of the scopes that were approved, in the order of
	// the request. Nil unless the request was approved.
	Granted []string

	// CreatedAt and ExpiresAt bound the time for a decision.
	CreatedAt, ExpiresAt time.Time

	// DecidedAt is when the request was approved or denied, else zero.
	DecidedAt time.Time

	// Reported says that the user has reported the request.
	Reported bool

	// MustMatch says that the user must type a number of two digits to approve, which
	// the client shows where the request was made. TriesLeft is how many wrong ones
	// deny the request. Mismatched says that they have.
	MustMatch  bool
	TriesLeft  int
	Mismatched bool

	// State is the state at the time of reading.
	State State
}

// ClientInfo is what a user may know of a client. All of it is configured; none
// of it comes from the request.
type ClientInfo struct {
	ID, Name, LogoURI, URI string

	// HasLogo says that Provider.Logo has a picture.
	HasLogo bool

	// SessionApproval is Client.SessionApproval.
	SessionApproval bool
}

// Approval is the decision of a user to let a request through.
type Approval struct {
	// Subject is the authenticated user. Required.
	Subject string

	// RequestID is the ID of the request. Required.
	RequestID string

	// Scopes are the names of all scopes that the user agrees to, the required
	// ones among them. Required.
	Scopes []string

	// AuthTime is when the user authenticated. Required; it is not in the
	// future.
	AuthTime time.Time

	// AMR are the methods that were used (RFC 8176), for example "pwd".
	AMR []string

	// ACR is the authentication context class that was reached.
	ACR string

	// MatchCode is the number that the user has typed. Required if the request has
	// MustMatch.
	MatchCode string
}

// Pending returns the undecided requests of a subject, oldest first, at most 100.
func (p *Provider) Pending(ctx context.Context, subject string) ([]*Request, error) {
	if !isSubject(subject) {
		return nil, nil
	}
	held, err := p.pending(ctx, subject, maxPendingListed)
	if err != nil {
		return nil, err
	}
	requests := make([]*Request, len(held))
	for i, h := range held {
		requests[i] = p.describe(h)
	}
	return requests, nil
}

// pending returns the undecided requests of a subject, oldest first.
func (p *Provider) pending(ctx context.Context, subject string, limit int) ([]*heldRequest, error) {
	stored, err := p.listPending(ctx, subject, limit)
	if err != nil {
		return nil, err
	}
	return p.decodePending(stored)
}

// listPending returns the records of what may be undecided requests of a subject.
func (p *Provider) listPending(ctx context.Context, subject string, limit int) ([]*store.Record, error) {
	stored, err := p.cfg.Store.List(ctx, kindRequest, pendingIndex(subject), "", limit)
	if err != nil {
		return nil, fmt.Errorf("listing pending requests: %w", err)
	}
	return stored, nil
}

// decodePending returns those of the requests that are undecided, oldest first.
func (p *Provider) decodePending(stored []*store.Record) ([]*heldRequest, error) {
	now := p.now()
	var held []*heldRequest
	for _, record := range stored {
		h, err := decodeRequest(record)
		if err != nil {
			return nil, err
		}
		if h.stateAt(now) == StatePending {
			held = append(held, h)
		}
	}
	slices.SortStableFunc(held, func(a, b *heldRequest) int { return int(a.Created - b.Created) })
	return held, nil
}

// Request returns one request of a subject, decided or not. It returns
// ErrNotFound also if the request is another subject's.
func (p *Provider) Request(ctx context.Context, subject, id string) (*Request, error) {
	h, err := p.ownRequest(ctx, subject, id)
	if err != nil {
		return nil, err
	}
	return p.describe(h), nil
}

func (p *Provider) ownRequest(ctx context.Context, subject, id string) (*heldRequest, error) {
	h, err := p.loadRequest(ctx, id)
	if err != nil {
		return nil, err
	}
	if subject == "" || h.Subject != subject {
		return nil, ErrNotFound
	}
	return h, nil
}

// Approve approves a pending request. Exactly one decision is ever made on a
// request: Approve returns ErrDecided if there was one, ErrExpired if it came too
// late, ErrNotFound if there is no such request for the subject, ErrScope or
// ErrACR if the approval does not fit the request, ErrUserNotFound if the user was
// disabled, and ErrClientDisabled if the client was. For a request with a match code
// it also returns ErrMatchMissing, ErrMatchWrong and ErrMatchDenied. After nil the
// client gets its tokens, and no other answer, at its next poll.
func (p *Provider) Approve(ctx context.Context, a Approval) error {
	now := p.now()
	if a.AuthTime.IsZero() || a.AuthTime.After(now.Add(clockSkew)) {
		return errors.New("approval has no authentication time, or one in the future")
	}
	return p.approve(ctx, a, nil)
}

// approve is Approve, for a request that may have been read a moment ago.
func (p *Provider) approve(ctx context.Context, a Approval, read *heldRequest) error {
	return p.decide(ctx, a.Subject, a.RequestID, read, func(h *heldRequest) (*verdict, error) {
		granted, err := p.grantedScopes(h, a.Scopes)
		if err != nil {
			return nil, err
		}
		if len(h.ACRValues) > 0 && !slices.Contains(h.ACRValues, a.ACR) {
			return nil, ErrACR
		}
		c := p.clients[h.Client]
		if c == nil || c.Disabled {
			return nil, ErrClientDisabled
		}
		_, err = p.activeUser(ctx, a.Subject)
		if err != nil {
			return nil, err
		}
		v, err := h.judgeMatch(a.MatchCode)
		if err != nil || v != nil {
			return v, err
		}
		return &verdict{to: StateApproved, change: func(r *requestRecord) {
			r.Granted = granted
			r.AuthTime = a.AuthTime.Unix()
			r.AMR = a.AMR
			r.ACR = a.ACR
		}}, nil
	})
}

// Deny denies a pending request. It returns ErrDecided, ErrExpired or ErrNotFound
// as Approve does. A disabled user may deny.
func (p *Provider) Deny(ctx context.Context, subject, id string) error {
	return p.deny(ctx, subject, id, false)
}

func (p *Provider) deny(ctx context.Context, subject, id string, reported bool) error {
	return p.decide(ctx, subject, id, nil, func(*heldRequest) (*verdict, error) {
		return &verdict{to: StateDenied, change: func(r *requestRecord) { r.Reported = reported }}, nil
	})
}

// decide makes the one decision on a request. judge says what it comes to; it is
// asked again if something was noted about the request in the meantime. The request is
// read, unless the caller has just done so.
func (p *Provider) decide(ctx context.Context, subject, id string, read *heldRequest, judge func(*heldRequest) (*verdict, error)) error {
	for {
		h := read
		if h == nil {
			var err error
			h, err = p.ownRequest(ctx, subject, id)
			if err != nil {
				return err
			}
		}
		read = nil
		now := p.now()
		switch h.stateAt(now) {
		case StatePending:
		case StateExpired:
			if h.State == StatePending {
				err := p.expire(ctx, h)
				if err != nil {
					return err
				}
			}
			return ErrExpired
		default:
			return ErrDecided
		}
		v, err := judge(h)
		if err != nil {
			return err
		}
		err = p.move(ctx, h, v.to, func(r *requestRecord) { v.apply(r, now) })
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			continue // read what somebody else has made of it
		}
		if err != nil {
			return err
		}
		p.decided(ctx, h, v)
		return v.err
	}
}

// decided tells of what was written down.
func (p *Provider) decided(ctx context.Context, h *heldRequest, v *verdict) {
	if v.to == StatePending {
		p.log.Warn("wrong match code, the request still waits",
			zap.String("request", h.id), zap.String("client", h.Client), zap.String("subject", h.Subject), zap.Int("tries", h.WrongMatches))
		return
	}
	entry := p.log.Check(zap.InfoLevel, "request decided")
	if entry != nil {
		entry.Write(zap.String("request", h.id), zap.String("client", h.Client),
			zap.String("subject", h.Subject), zap.String("state", string(v.to)), zap.String("reason", v.reason))
	}
	switch v.to {
	case StateDenied:
		p.noteDenial(ctx, h)
		p.raiseBecause(ctx, EventDenied, h, v.reason)
	case StateApproved:
		p.raise(ctx, EventApproved, h)
	}
}

// grantedScopes returns the approved scopes in the order of the request, or
// ErrScope.
func (p *Provider) grantedScopes(h *heldRequest, approved []string) ([]string, error) {
	for _, name := range approved {
		if !slices.Contains(h.Scope, name) {
			return nil, fmt.Errorf("%w: %q was not asked for", ErrScope, name)
		}
	}
	var granted []string
	for _, s := range p.describeScopes(h.Scope) {
		switch {
		case slices.Contains(approved, s.Name):
			granted = append(granted, s.Name)
		case s.Required:
			return nil, fmt.Errorf("%w: %q is required", ErrScope, s.Name)
		}
	}
	return granted, nil
}

// WatchSubject reports changes of the pending requests of a subject, on any node:
// the channel receives a value after each of them. Values are merged, so a reader
// calls Pending again. Stop must be called. Read Pending after WatchSubject has
// returned and before waiting, or a change in between is missed. Requests that
// expire cause no value; a reader knows when they will.
func (p *Provider) WatchSubject(subject string) (changes <-chan struct{}, stop func()) {
	return p.cfg.Store.WatchIndex(kindRequest, pendingIndex(subject))
}

// describe returns the public view of a request.
func (p *Provider) describe(h *heldRequest) *Request {
	r := &Request{
		ID:                   h.id,
		Subject:              h.Subject,
		Client:               p.clientInfo(h.Client),
		BindingMessage:       h.BindingMessage,
		Place:                h.Place,
		Scopes:               p.describeScopes(h.Scope),
		ACRValues:            slices.Clone(h.ACRValues),
		Details:              p.describeDetails(h.Details),
		AuthorizationDetails: slices.Clone(h.Details),
		Granted:              slices.Clone(h.Granted),
		CreatedAt:            time.UnixMilli(h.Created),
		ExpiresAt:            h.expires(),
		Reported:             h.Reported,
		MustMatch:            h.MatchCode != "",
		Mismatched:           h.WrongMatches >= maxWrongMatches,
		State:                h.stateAt(p.now()),
	}
	if h.MatchCode != "" {
		r.TriesLeft = maxWrongMatches - h.WrongMatches
	}
	if h.ClientName != "" {
		r.Client.Name = h.ClientName
	}
	if h.Decided != 0 {
		r.DecidedAt = time.UnixMilli(h.Decided)
	}
	return r
}

// clientInfo returns what a user may know of a client. One that was removed from the
// configuration keeps its id.
func (p *Provider) clientInfo(id string) ClientInfo {
	c := p.clients[id]
	if c == nil {
		return ClientInfo{ID: id, Name: id}
	}
	return ClientInfo{
		ID: c.ID, Name: c.Name, LogoURI: c.LogoURI, URI: c.URI, HasLogo: c.hasLogo(), SessionApproval: c.SessionApproval,
	}
}
