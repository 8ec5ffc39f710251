package idp

import (
	"context"
	"time"

	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/provider"
)

// eventPrefix begins the names of the events that Caddy's events app carries; the
// type of the provider's event follows. Their data are issuer, client and subject,
// the request if there is one, and what else the type calls for.
const eventPrefix = "ciba_idp_"

// eventRequested is also what the webhook tells of.
const eventRequested = eventPrefix + string(provider.EventRequested)

// notifies reports whether there is anybody to tell of new requests.
func (in *instance) notifies() bool {
	s := in.out.current.Load()
	return len(s.notifiers) > 0 || s.events.ShouldEmit(eventRequested)
}

// requested reports a new request, and has its customer notified. The provider calls it
// in a goroutine of its own, so that an event handler does not delay the answer to the
// client, by which somebody who exists could be told from somebody who does not.
func (in *instance) requested(ctx context.Context, request *provider.Request) {
	in.out.emit(eventRequested, func() map[string]any {
		data := in.describe(request)
		data["expires"] = request.ExpiresAt.UTC().Format(time.RFC3339)
		return data
	})
	in.notify(ctx, request)
}

// happened counts and reports what has become of a request. The provider calls it
// once it is written down.
func (in *instance) happened(ctx context.Context, e provider.Event) {
	switch e.Type {
	case provider.EventRequested:
		collectors.requests.WithLabelValues(in.issuer, e.Client).Inc()
		in.note(ctx, e)
		return // the rest is in requested
	case provider.EventNotified:
		return
	case provider.EventRefused:
		collectors.refusals.WithLabelValues(in.issuer, e.Client, e.Reason).Inc()
	case provider.EventApproved, provider.EventDenied:
		collectors.decisions.WithLabelValues(in.issuer, e.Client, string(e.Type)).Inc()
		collectors.delay.WithLabelValues(in.issuer, string(e.Type)).Observe(max(0, e.Waited).Seconds())
	}
	in.note(ctx, e)
	collectors.events.WithLabelValues(in.issuer, e.Client, string(e.Type)).Inc()
	in.out.emit(eventPrefix+string(e.Type), func() map[string]any { return in.tell(e) })
}

// eventFactors tells that what a customer proves with has changed. Its data are
// issuer, subject, change, and who has changed it: by is customer or operator.
const eventFactors = "factors_changed"

// changed counts and reports a change that was made in the approval app.
func (in *instance) changed(_ context.Context, c approval.Change) {
	in.tellFactors(string(c.Type), c.Subject, map[string]any{"by": "customer", "source": c.Source})
}

func (in *instance) tellFactors(change, subject string, more map[string]any) {
	collectors.events.WithLabelValues(in.issuer, "", eventFactors).Inc()
	in.out.emit(eventPrefix+eventFactors, func() map[string]any {
		more["issuer"], more["subject"], more["change"] = in.issuer, subject, change
		return more
	})
}

// tell is what an event tells.
func (in *instance) tell(e provider.Event) map[string]any {
	data := map[string]any{"issuer": in.issuer, "client": e.Client, "subject": e.Subject}
	request := e.Request()
	if request != nil {
		data = in.describe(request)
	}
	if e.Type == provider.EventApproved {
		data["scopes"] = request.Granted
	}
	if e.Reason != "" {
		data["reason"] = e.Reason
	}
	return data
}

// describe is what every event about a request tells. It holds nothing secret: the
// request is known by its public id, and what it is about stays out of the debug log.
func (in *instance) describe(request *provider.Request) map[string]any {
	return map[string]any{
		"issuer":  in.issuer,
		"request": request.ID,
		"client":  request.Client.ID,
		"subject": request.Subject,
	}
}
