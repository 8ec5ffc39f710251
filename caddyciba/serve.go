package caddyciba

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// ServeHTTP holds the request until it is approved and then passes it on once.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if stepup.Concerns(r) && !isNotification(r) {
		// A gate may come before the handler of these by its matcher.
		return h.app.serveStatus(w, r)
	}
	misplaced := h.misplaced(r)
	if misplaced != nil {
		return refuse(w, r, misplaced)
	}
	g, err := h.pooled.hold()
	if err != nil {
		h.logger.Error("the gate cannot be set up", zap.Error(err))
		return refuse(w, r, misconfigured(err))
	}
	defer func() { _ = h.pooled.release() }()

	covered, err := h.serveCovered(g, w, r, next)
	if covered || err != nil {
		return err
	}

	if !h.ReportOnly {
		collectors.held.WithLabelValues(g.issuer).Inc()
		defer collectors.held.WithLabelValues(g.issuer).Dec()
	}

	g.settleRest(r.Context())

	answer := w
	if !h.ReportOnly {
		answer = withoutReadTimeout(w, r)
	}
	err = g.engine.Serve(answer, r, h.routeFor(r, next), h.nextFor(r, next))
	refusal, ok := asRefusal(err)
	if ok {
		h.logCause(refusal)
		return refuse(w, r, refusal)
	}
	return err
}

// logCause tells operators why a request was refused. Callers do not get to know.
func (h *Handler) logCause(refusal *stepup.Refusal) {
	if refusal.Err == nil {
		return
	}
	level := zap.WarnLevel
	switch {
	case errors.Is(refusal.Err, stepup.ErrDrained):
		level = zap.InfoLevel // nobody has to look into an orderly end
	case refusal.Status >= http.StatusInternalServerError:
		level = zap.ErrorLevel
	}
	h.logger.Log(level, "request was refused", zap.String("problem", string(refusal.Problem)),
		zap.String("transaction", refusal.Transaction), zap.Error(refusal.Err))
}

// approvedKey is the context key of an approved request on its way to the
// upstream. Its value are the headers that the gate has set.
type approvedKey struct{}

// misplaced refuses a request that a gate must not get: one that another gate
// has let through, as the customer would be asked twice for one request, and one
// that is an error already. Both are mistakes in the configuration.
func (h *Handler) misplaced(r *http.Request) *stepup.Refusal {
	_, approved := r.Context().Value(approvedKey{}).([]string)
	_, failed := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	if !approved && !failed {
		return nil
	}
	h.logger.Error("a request came to this gate from another gate or from error routes; let one gate only match it",
		zap.String("route", h.route.Name), zap.Bool("approved", approved))
	return misconfigured(nil)
}

// misconfigured refuses what only an operator can set right.
func misconfigured(cause error) *stepup.Refusal {
	return &stepup.Refusal{
		Problem:   stepup.ProblemMisconfigured,
		Status:    http.StatusInternalServerError,
		Title:     "The gateway is not set up correctly",
		Detail:    "Nothing was sent. The operator has to act.",
		Forwarded: stepup.ForwardedNo,
		Err:       cause,
	}
}

// Interface guard
var _ caddyhttp.MiddlewareHandler = (*Handler)(nil)
