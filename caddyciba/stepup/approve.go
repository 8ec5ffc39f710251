package stepup

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

const (
	// withdrawTimeout bounds what is done for a request that is over already.
	withdrawTimeout = 3 * time.Second

	// providerRetryAfter is when a caller may try again if the provider is down
	// and does not say.
	providerRetryAfter = 30 * time.Second
)

// errHoldOver ends the wait for the customer.
var errHoldOver = errors.New("customer did not decide within the hold")

// approve asks the customer and waits. It returns tokens that were checked, of
// a transaction in state approved, whose caller was there a moment ago.
func (h *hold) approve() (*ciba.Tokens, error) {
	h.extendWriteDeadline(h.route.Hold + h.route.UpstreamTimeout)
	expectDetails, err := h.offerDetails()
	if err != nil {
		return nil, err
	}
	err = h.present()
	if err != nil {
		return nil, err
	}
	err = h.move(StateRequested, EventRequested, nil)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(h.route.Hold)
	pending, err := h.start(deadline)
	if err != nil {
		return nil, err
	}
	err = h.rememberPending(pending, expectDetails)
	if err != nil {
		h.withdraw(pending)
		return nil, err
	}
	if h.onAsked != nil {
		h.onAsked()
	}
	return h.await(deadline, pending, expectDetails)
}

// await waits for the decision on what was asked, by this process or by one
// before it.
func (h *hold) await(deadline time.Time, pending *ciba.Pending, expectDetails bool) (*ciba.Tokens, error) {
	h.asked = pending
	tokens, err := h.wait(deadline, pending)
	if err != nil {
		return nil, err
	}
	err = h.accept(tokens, expectDetails)
	if err != nil {
		h.revoke(tokens)
		return nil, err
	}
	return tokens, nil
}

// offerDetails adds the authorization details for a provider that knows their
// type.
func (h *hold) offerDetails() (bool, error) {
	ctx, cancel := context.WithTimeoutCause(h.waiting, h.route.Hold, errHoldOver)
	defer cancel()
	metadata, err := h.gate.client.Discover(ctx)
	if err != nil {
		return false, h.providerRefusal(err)
	}
	err = h.offerMatchCode(metadata)
	if err != nil {
		return false, err
	}
	if !metadata.SupportsDetails(h.details.kind) {
		return false, nil
	}
	h.request.AuthorizationDetails = h.details.list
	return true, nil
}

// start asks the customer. A caller that leaves meanwhile does not cut it short:
// only who has the provider's answer can withdraw the question.
func (h *hold) start(deadline time.Time) (*ciba.Pending, error) {
	ctx, cancel := context.WithDeadlineCause(context.WithoutCancel(h.caller), deadline, errHoldOver)
	defer cancel()
	pending, err := h.gate.client.Start(ctx, h.request)
	if err != nil {
		return nil, h.startRefusal(err)
	}
	err = h.present()
	if err != nil {
		h.withdraw(pending)
		return nil, err
	}
	return pending, nil
}

// wait waits until the customer has decided, the hold is over or the caller has
// left.
func (h *hold) wait(deadline time.Time, pending *ciba.Pending) (*ciba.Tokens, error) {
	ctx, cancel := context.WithDeadlineCause(h.waiting, deadline, errHoldOver)
	defer cancel()
	check := ciba.Check{Subject: h.ask.Subject, Claims: h.ask.Claims, ACR: h.route.ACR}
	if h.route.FreshAuth {
		check.NotBefore = pending.StartedAt.Add(-h.route.AuthAge)
		check.AuthTimeOptional = h.route.AuthTimeOptional
	}
	tokens, err := h.gate.client.Wait(ctx, pending, check, nil)
	if err == nil {
		return tokens, nil
	}
	f := h.providerRefusal(err)
	switch f.Problem {
	case ProblemCallerGone, ProblemExpired, ProblemProviderUnavailable, ProblemUnavailable, ProblemCancelled:
		if !h.parked(f) {
			h.withdraw(pending)
		}
	}
	return nil, f
}

// accept takes the provider's answer, unless it is about something else or comes
// too late: to a caller that has left, or to a transaction that was cancelled.
func (h *hold) accept(tokens *ciba.Tokens, expectDetails bool) error {
	if expectDetails {
		err := h.details.check(tokens.AuthorizationDetails)
		if err != nil {
			return h.mismatch(err)
		}
	}
	err := h.present()
	if err != nil {
		return err
	}
	err = h.rememberTokens(tokens)
	if err != nil {
		return err
	}
	h.claims = &tokens.Claims
	return h.move(StateApproved, EventApproved, nil)
}

func (h *hold) mismatch(err error) *Refusal {
	h.gate.log.Warn("provider's answer is not the approval of this request",
		zap.String("transaction", h.entry.ID), zap.Error(err))
	return refuse(ProblemMismatch, "Nothing was sent.", err)
}

// startRefusal is the answer to an error of Start.
func (h *hold) startRefusal(err error) *Refusal {
	switch {
	case ciba.IsUnknownUser(err), ciba.IsUserCode(err), ciba.IsDenied(err):
		// Denied without a question: a policy of the provider's, as for a
		// customer who is locked. It must not be told from an unknown one.
		return refuse(ProblemApprovalUnavailable, approvalUnavailable, err)
	case ciba.Code(err) == ciba.CodeInvalidBindingMessage:
		return refuse(ProblemNotReadable, "Nothing was sent. The provider cannot show the message.", err)
	default:
		return h.providerRefusal(err)
	}
}

// providerRefusal is the answer to an error of the provider's at any time. Who
// has ended the wait comes first: the error then only echoes it.
func (h *hold) providerRefusal(err error) *Refusal {
	switch {
	case h.left() != nil:
		return refuse(ProblemCallerGone, "Nothing was sent.", err)
	case h.waiting.Err() != nil && (ciba.Code(err) == ciba.CodeCanceled || errors.Is(err, context.Canceled)):
		return h.interrupted(err)
	case ciba.IsDenied(err):
		return refuse(ProblemDenied, "Nothing was sent.", err)
	case ciba.IsExpired(err), errors.Is(err, context.DeadlineExceeded) && ciba.Code(err) == ciba.CodeCanceled, errors.Is(err, errHoldOver):
		return refuse(ProblemExpired, "Nothing was sent.", err)
	case ciba.IsMismatch(err), ciba.Code(err) == ciba.CodeInvalidToken:
		return h.mismatch(err)
	case isMisconfigured(err):
		h.gate.log.Error("provider refuses this gateway", zap.Error(err))
		return refuse(ProblemMisconfigured, "Nothing was sent. The operator has to act.", err)
	default:
		// Down, overloaded, broken, or no longer aware of the request.
		return unavailable(err)
	}
}

// isMisconfigured reports whether the provider refused the client itself or
// what an operator has set: scopes, details, parameters.
func isMisconfigured(err error) bool {
	switch ciba.Code(err) {
	case ciba.CodeInvalidClient, ciba.CodeUnauthorizedClient, ciba.CodeInvalidRequest,
		ciba.CodeInvalidScope, ciba.CodeInvalidAuthorizationDetails, ciba.CodeInvalidArgument,
		ciba.CodeUnsupported, ciba.CodeInvalidDPoPProof, ciba.CodeInvalidTarget:
		return true
	default:
		return false
	}
}

// unavailable is the answer when the provider cannot be used for now.
func unavailable(err error) *Refusal {
	f := refuse(ProblemProviderUnavailable, "Nothing was sent. Try again later.", err)
	f.RetryAfter = providerRetryAfter
	var e *ciba.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		f.RetryAfter = e.RetryAfter
	}
	return f
}

// withdraw takes the question back, so that nobody approves what will not be
// sent. It is a courtesy: whatever comes of it, the transaction is over.
func (h *hold) withdraw(pending *ciba.Pending) {
	ctx, cancel := h.afterwards()
	defer cancel()
	err := h.gate.client.Cancel(ctx, pending)
	if err != nil && !ciba.IsUnsupported(err) {
		h.gate.log.Info("question could not be withdrawn", zap.String("transaction", h.entry.ID), zap.Error(err))
	}
}

// revoke gives back tokens that will not be used.
func (h *hold) revoke(tokens *ciba.Tokens) {
	ctx, cancel := h.afterwards()
	defer cancel()
	var err error
	if tokens.RefreshToken != "" {
		// First, as new access tokens come from it.
		err = h.gate.client.Revoke(ctx, tokens.RefreshToken, "refresh_token")
	}
	err = errors.Join(err, h.gate.client.Revoke(ctx, tokens.AccessToken, "access_token"))
	if err != nil && !ciba.IsUnsupported(err) {
		h.gate.log.Info("unused token could not be revoked", zap.String("transaction", h.entry.ID), zap.Error(err))
	}
}

// afterwards is a context for what is done after the caller has left or the
// hold is over.
func (h *hold) afterwards() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(h.caller), withdrawTimeout)
}
