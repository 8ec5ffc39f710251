package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// Answers of the grant that never differ.
var (
	errUnknownAuthReqID = refuse(codeInvalidGrant, "The auth_req_id is unknown, was used, or belongs to another client.")
	errDenied           = refuse(codeAccessDenied, "The user has denied the request.")
	errRequestExpired   = refuse(codeExpiredToken, "The request has expired.")
	errPending          = refuse(codePending, "The user has not decided yet.")
	errOtherKey         = refuse(codeInvalidGrant, "The request was started with another key.")
	errUserGone         = refuse(codeInvalidGrant, "The user can not be served.")
)

// grantCIBA is the CIBA grant (CIBA Core 1.0 sections 10.1 and 11). A decided
// request is answered whenever the client asks: only waiting is throttled.
func (p *Provider) grantCIBA(r *http.Request, c *client, f *form) (*tokenResponse, error) {
	ctx := r.Context()
	authReqID := f.get("auth_req_id")
	if authReqID == "" {
		return nil, badRequest("auth_req_id is missing.")
	}
	if !isTokenID(authReqID, authReqIDBytes) {
		return nil, errUnknownAuthReqID
	}
	cnf, err := p.readConfirmation(r, c, pathToken)
	if err != nil {
		return nil, err
	}
	h, err := p.clientRequest(ctx, c, authReqID)
	if err != nil {
		return nil, err
	}
	if h.stateAt(p.now()) == StatePending {
		wish := p.longPollWish(r, c)
		poll, err := p.throttle(ctx, h, wish)
		if isSlowDown(err) {
			p.raise(ctx, EventSlowDown, h)
		}
		if err != nil {
			return nil, err
		}
		h, err = p.holdPoll(ctx, h, poll, wish)
		if err != nil {
			return nil, err
		}
	}
	return p.answerPoll(ctx, c, h, redemption{authReqID: authReqID, cnf: cnf, form: f})
}

// redemption is what a client brings to redeem a request.
type redemption struct {
	authReqID string
	cnf       confirmation
	form      *form
}

// answerPoll answers by the state of the request.
func (p *Provider) answerPoll(ctx context.Context, c *client, h *heldRequest, by redemption) (*tokenResponse, error) {
	switch h.stateAt(p.now()) {
	case StatePending:
		return nil, errPending
	case StateApproved:
		return p.redeem(ctx, c, h, by)
	case StateDenied:
		return nil, errDenied
	case StateExpired:
		if h.State != StateExpired {
			err := p.expire(ctx, h)
			if err != nil {
				return nil, unavailable(err)
			}
		}
		return nil, errRequestExpired
	case StateRedeemed:
		// Its own client comes a second time: somebody else may have the tokens.
		if h.Revoked != 0 {
			return nil, errUnknownAuthReqID
		}
		return nil, p.revokeReplayed(ctx, h.id, errUnknownAuthReqID)
	}
	return nil, errUnknownAuthReqID
}

// clientRequest returns the request of an auth_req_id. That of another client is
// as good as none, and stays as it is (CIBA checklist T1).
func (p *Provider) clientRequest(ctx context.Context, c *client, authReqID string) (*heldRequest, error) {
	h, err := p.loadRequest(ctx, requestID(authReqID))
	if errors.Is(err, ErrNotFound) {
		return nil, errUnknownAuthReqID
	}
	if err != nil {
		return nil, unavailable(err)
	}
	if h.Client != c.ID {
		p.log.Warn("a client has used the auth_req_id of another",
			zap.String("request", h.id), zap.String("client", c.ID), zap.String("owner", h.Client))
		return nil, errUnknownAuthReqID
	}
	return h, nil
}

// redeem makes the tokens of an approved request and then uses the request up by
// one conditional write, which one of any number of polls wins. In this order a
// signing key that is not there costs nobody the approval, and tokens leave the
// provider only behind the write (CIBA checklist T7).
func (p *Provider) redeem(ctx context.Context, c *client, h *heldRequest, by redemption) (*tokenResponse, error) {
	f := by.form
	if h.Bound != nil && !by.cnf.continues(*h.Bound) {
		return nil, errOtherKey
	}
	granted := p.scopesLeft(c, h.Granted)
	err := checkNarrowing(f.get("scope"), granted)
	if err != nil {
		return nil, err
	}
	err = checkSameDetails(f.get("authorization_details"), h.Details)
	if err != nil {
		return nil, err
	}
	details, err := p.detailsLeft(c, h.Details)
	if err != nil {
		return nil, err
	}
	targets, err := p.targets(h, granted, f.all("resource"))
	if err != nil {
		return nil, err
	}
	user, err := p.redeemingUser(ctx, h)
	if err != nil {
		return nil, err
	}
	tokens, used, err := p.firstTokens(ctx, issue{
		client: c, user: user, request: h, scope: p.scopeFor(granted, targets), targets: targets, details: details,
		authReqID: by.authReqID, cnf: by.cnf,
	})
	if err != nil {
		return nil, unavailable(fmt.Errorf("making tokens: %w", err))
	}
	err = p.useUp(ctx, h, used)
	if err != nil {
		return nil, err
	}
	p.logStep("request redeemed", h)
	p.raise(ctx, EventRedeemed, h)
	return tokens, nil
}

// useUp takes an approved request to redeemed. It tries again if the write that
// came first was a note about the ping: the client often comes while we write down
// that we have told it.
func (p *Provider) useUp(ctx context.Context, h *heldRequest, change func(*requestRecord)) error {
	for {
		err := p.move(ctx, h, StateRedeemed, change)
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return unavailable(err)
		}
		current, err := p.reload(ctx, h)
		if err != nil {
			return err
		}
		if current.stateAt(p.now()) != StateApproved {
			return errUnknownAuthReqID
		}
		*h = *current
	}
}

// checkNarrowing refuses a token request that names scopes beyond the approved
// ones. CIBA has no scope parameter here, so others are ignored.
func checkNarrowing(value string, granted []string) error {
	if value == "" {
		return nil
	}
	for _, name := range strings.Fields(value) {
		if !slices.Contains(granted, name) {
			return refuse(codeInvalidScope, "A scope was not approved.")
		}
	}
	return nil
}

// redeemingUser returns the user of a request that is about to become tokens.
func (p *Provider) redeemingUser(ctx context.Context, h *heldRequest) (*User, error) {
	user, err := p.activeUser(ctx, h.Subject)
	if errors.Is(err, ErrUserNotFound) {
		return nil, errUserGone.because(err)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return user, nil
}
