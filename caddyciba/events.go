package caddyciba

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// eventPrefix begins the names of our events.
const eventPrefix = "ciba_"

// A reporter tells one configuration's log, metrics and events what becomes of
// requests.
type reporter struct {
	logger *zap.Logger
	events *caddyevents.App

	// ctx is the context that events belong to. Events that come after the end
	// of the configuration are not handled by anybody.
	ctx caddy.Context
}

func newReporter(ctx caddy.Context, logger *zap.Logger) (*reporter, error) {
	err := collectors.register(ctx)
	if err != nil {
		return nil, err
	}
	module, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("getting events app: %w", err)
	}
	events, ok := module.(*caddyevents.App)
	if !ok {
		return nil, fmt.Errorf("app events is a %T", module)
	}
	return &reporter{logger: logger, events: events, ctx: ctx}, nil
}

// observe counts an event and emits it to the newest configuration, also for a
// request that an older one holds.
func (g *gate) observe(e stepup.Event) {
	collectors.observe(g.issuer, e)

	r := g.reports.Load()
	if e.Type == stepup.EventReported {
		r.report(e)
	}
	name := eventPrefix + string(e.Type)
	if !r.events.ShouldEmit(name) {
		return
	}
	r.events.Emit(r.ctx, name, eventData(g.issuer, e))
}

// report writes down what a gate that is only tried out would have done.
func (r *reporter) report(e stepup.Event) {
	if e.Question == nil {
		r.logger.Info("request would have been refused", zap.String("route", e.Route),
			zap.String("problem", string(e.Problem)), zap.Error(e.Err))
		return
	}
	r.logger.Info("customer would have been asked", zap.String("route", e.Route),
		zap.String("customer", e.Question.Customer), zap.String("caller", e.Question.Caller),
		zap.String("message", e.Question.Message), zap.ByteString("details", e.Question.Details))
}

// eventData is what handlers of an event get. Caddy logs it at level DEBUG, so
// it has nothing that must not be in a log: customer and caller appear as
// fingerprints.
func eventData(issuer string, e stepup.Event) map[string]any {
	data := map[string]any{
		"issuer":       issuer,
		"route":        e.Route,
		"held_seconds": e.Held.Seconds(),
	}
	if e.Problem != "" {
		data["problem"] = string(e.Problem)
	}
	if t := e.Transaction; t != nil {
		data["transaction"] = t.ID
		data["state"] = string(t.State)
		data["method"] = t.Method
		data["host"] = t.Host
		data["target"] = t.Target
		data["digest"] = t.Digest
		data["customer"] = t.Customer
		data["caller"] = t.Caller
		if t.Status != 0 {
			data["status"] = t.Status
		}
	}
	return data
}
