package idp

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/provider"
)

// Names of the events that Caddy's events app carries. Their data are issuer,
// request, client and subject; the ones about a decision also have scopes.
const (
	eventRequested = "ciba_idp_requested"
	eventApproved  = "ciba_idp_approved"
	eventDenied    = "ciba_idp_denied"
)

// observed is the provider as the approval app sees it. It counts and reports
// what customers decide.
type observed struct {
	*provider.Provider
	in *instance
}

// Approve approves a request, and reports it if it succeeded.
func (o observed) Approve(ctx context.Context, approval provider.Approval) error {
	err := o.Provider.Approve(ctx, approval)
	if errors.Is(err, provider.ErrMatchDenied) {
		o.decided(ctx, eventDenied, approval.Subject, approval.RequestID, nil)
	}
	if err != nil {
		return err
	}
	o.decided(ctx, eventApproved, approval.Subject, approval.RequestID, approval.Scopes)
	return nil
}

// Deny denies a request, and reports it if it succeeded.
func (o observed) Deny(ctx context.Context, subject, id string) error {
	err := o.Provider.Deny(ctx, subject, id)
	if err != nil {
		return err
	}
	o.decided(ctx, eventDenied, subject, id, nil)
	return nil
}

// decided counts and reports a decision that stands. That it cannot be
// described does not undo it, so the error goes to the log.
func (o observed) decided(ctx context.Context, event, subject, id string, scopes []string) {
	request, err := o.Provider.Request(ctx, subject, id)
	if err != nil {
		o.in.out.logger().Error("a decision stands but cannot be reported", zap.String("event", event), zap.String("request", id), zap.Error(err))
		return
	}
	decision := "denied"
	if event == eventApproved {
		decision = "approved"
	}
	collectors.decisions.WithLabelValues(o.in.issuer, request.Client.ID, decision).Inc()
	collectors.delay.WithLabelValues(o.in.issuer, decision).Observe(max(0, request.DecidedAt.Sub(request.CreatedAt)).Seconds())
	o.in.out.emit(event, func() map[string]any {
		data := o.in.describe(request)
		if event == eventApproved {
			data["scopes"] = scopes
		}
		return data
	})
}

// requested counts and reports a new request, and has its customer notified. The provider calls it in a
// goroutine of its own.
func (in *instance) requested(ctx context.Context, request *provider.Request) {
	collectors.requests.WithLabelValues(in.issuer, request.Client.ID).Inc()
	in.out.emit(eventRequested, func() map[string]any {
		data := in.describe(request)
		data["expires"] = request.ExpiresAt.UTC().Format(time.RFC3339)
		return data
	})
	in.notify(ctx, request)
}

// describe is what every event tells. It holds nothing secret: the request is
// known by its public id, and what it is about stays out of the debug log.
func (in *instance) describe(request *provider.Request) map[string]any {
	return map[string]any{
		"issuer":  in.issuer,
		"request": request.ID,
		"client":  request.Client.ID,
		"subject": request.Subject,
	}
}
