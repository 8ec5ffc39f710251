package provider

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pushedTokens is a token response as it is pushed (CIBA Core 1.0 section 10.3.1).
type pushedTokens struct {
	AuthReqID string `json:"auth_req_id"`
	tokenResponse
}

// pushedError is an error as it is pushed (CIBA Core 1.0 section 12).
type pushedError struct {
	AuthReqID   string `json:"auth_req_id"`
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// errTransactionFailed is pushed when an approved request can't become tokens.
var errTransactionFailed = refuse(codeTransactionFailed, "The request was approved, but the user can not be served.")

// deliverPush tries once to bring a client its tokens, or the error that there is
// instead. What was made and can't be delivered while the request lasts is revoked:
// nobody else has it (CIBA checklist X3).
func (p *Provider) deliverPush(ctx context.Context, c *client, h *heldRequest) error {
	if h.State == StateRedeemed && !p.now().Before(p.pushUntil(h)) {
		p.raise(ctx, EventUndelivered, h)
		return p.revoke(ctx, h.id, "push could not be delivered in time")
	}
	secret, err := p.openCallback(h)
	if err != nil {
		return err
	}
	claimed := false
	switch {
	case h.State != StateApproved:
		claimed, err = p.claim(ctx, h, h.State, nil)
	case h.stateAt(p.now()) == StateExpired:
		claimed, err = p.claim(ctx, h, StateExpired, nil)
	default:
		secret, claimed, err = p.mint(ctx, c, h, secret)
	}
	if err != nil || !claimed {
		return err
	}
	result, cause := p.call(ctx, c, h, secret.Token, p.pushBody(h, secret))
	p.noteCall(ctx, h, result, cause)
	switch {
	case result == sentAgain:
		return nil
	case result == sentRefused && h.State == StateRedeemed:
		return p.revoke(ctx, h.id, "push was refused by the client")
	}
	return p.settle(ctx, h)
}

// pushUntil is when it makes no sense any more to push the tokens of a request.
func (p *Provider) pushUntil(h *heldRequest) time.Time {
	until := time.UnixMilli(h.Redeemed).Add(p.cfg.AccessTokenLifetime)
	if h.expires().Before(until) {
		return h.expires()
	}
	return until
}

// mint makes the tokens of an approved request. They are written down with the one
// conditional write that uses the request up, so that of any number of nodes one
// makes them, and they outlive that node (CIBA checklist T7, X3). If the user can't
// be served any more, that is written down instead.
func (p *Provider) mint(ctx context.Context, c *client, h *heldRequest, secret *callbackSecret) (*callbackSecret, bool, error) {
	user, err := p.activeUser(ctx, h.Subject)
	if errors.Is(err, ErrUserNotFound) {
		// This can't be cured: a user who comes back was not asked by then.
		claimed, err := p.claim(ctx, h, StateCancelled, func(r *requestRecord) { r.Callback.Failed = true })
		return secret, claimed, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("looking up user: %w", err)
	}
	granted := p.scopesLeft(c, h.Granted)
	targets, err := p.targets(h, granted, nil)
	if err != nil {
		return nil, false, err
	}
	details, err := p.detailsLeft(c, h.Details)
	if err != nil {
		return nil, false, err
	}
	tokens, used, err := p.firstTokens(ctx, issue{
		client: c, user: user, request: h, scope: p.scopeFor(granted, targets), targets: targets, details: details,
		authReqID: secret.AuthReqID, pushed: true,
	})
	if err != nil {
		return nil, false, err
	}
	filled := &callbackSecret{AuthReqID: secret.AuthReqID, Token: secret.Token, Tokens: tokens}
	state, err := h.Callback.withSecret(p, h.id, *filled)
	if err != nil {
		return nil, false, err
	}
	claimed, err := p.claim(ctx, h, StateRedeemed, func(r *requestRecord) {
		used(r)
		r.Callback.Plain, r.Callback.Sealed = state.Plain, state.Sealed
	})
	if claimed {
		p.raise(ctx, EventRedeemed, h)
	}
	return filled, claimed, err
}

// pushBody is what is pushed of a request that has come to its end.
func (p *Provider) pushBody(h *heldRequest, secret *callbackSecret) any {
	var refusal *oauthError
	switch h.State {
	case StateRedeemed:
		tokens := *secret.Tokens
		age := p.now().Sub(time.UnixMilli(h.Redeemed))
		tokens.ExpiresIn = int64((p.cfg.AccessTokenLifetime - age) / time.Second)
		return pushedTokens{AuthReqID: secret.AuthReqID, tokenResponse: tokens}
	case StateDenied:
		refusal = errDenied
	case StateExpired:
		refusal = errRequestExpired
	default:
		refusal = errTransactionFailed
	}
	return pushedError{AuthReqID: secret.AuthReqID, Error: refusal.code, Description: refusal.description}
}

// deliveryModes returns the modes that clients are served in. Push is for clients
// that are registered for it, and is not offered where there is none.
func (p *Provider) deliveryModes() []string {
	modes := []string{DeliveryPoll, DeliveryPing}
	for _, c := range p.clients {
		if c.DeliveryMode == DeliveryPush {
			return append(modes, DeliveryPush)
		}
	}
	return modes
}
