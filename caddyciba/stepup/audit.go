package stepup

import (
	"context"
	"encoding/base64"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store/audit"
)

// Audit writes an entry into an audit log, and with durable onto the disk. An error
// keeps from being asked, or sent, what the entry is about; an implementation that
// would rather go on without a log returns none.
type Audit func(ctx context.Context, e audit.Entry, durable bool) error

// auditFirst are the events whose act is only permitted once they stand in the audit
// log.
var auditFirst = map[EventType]bool{EventRequested: true, EventSent: true}

// note writes an event of the transaction into the audit log. Its error is a
// *Refusal: nobody is asked and nothing is sent that would not stand there.
func (h *hold) note(event EventType, f *Refusal) error {
	if h.gate.audit == nil {
		return nil
	}
	err := h.gate.audit(h.caller, h.auditEntry(event, f), event == EventSent)
	if err == nil {
		return nil
	}
	h.gate.log.Error("audit log does not take an entry", zap.String("transaction", h.entry.ID),
		zap.String("event", string(event)), zap.Error(err))
	if !auditFirst[event] {
		return nil
	}
	return storeRefusal(err)
}

// auditEntry is what the log says: what is the case after the event, and to whom it
// was shown. The body stays out, and so do tokens.
func (h *hold) auditEntry(event EventType, f *Refusal) audit.Entry {
	t := h.entry.Transaction
	e := audit.Entry{
		Event:    string(event),
		Request:  t.ID,
		Route:    t.Route,
		Customer: h.ask.Customer,
		Caller:   h.ask.Caller,
		Digest:   t.Digest,
		State:    string(t.State),
		Status:   t.Status,
	}
	if h.asked != nil {
		sum := ciba.HashNotification(h.asked.AuthReqID)
		e.ProviderRequest = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if f != nil {
		e.Reason = string(f.Problem)
	}
	switch event {
	case EventRequested:
		e.Method, e.Host, e.Target = t.Method, t.Host, t.Target
		e.Message, e.Scopes = h.request.BindingMessage, h.request.Scope
		e.Details = h.request.AuthorizationDetails
	case EventApproved:
		if h.claims != nil {
			e.Subject, e.ACR, e.AMR, e.AuthTime = h.claims.Subject, h.claims.ACR, h.claims.AMR, h.claims.AuthTime
		}
	case EventSent:
		e.Method, e.Host, e.Target = t.Method, t.Host, t.Target
	}
	return e
}

// noteReused writes down that a request goes out under an earlier approval. Its error
// is a *Refusal.
func (g *Gate) noteReused(rt *Route, earlier *Approval, r *http.Request, caller, customer string) error {
	err := g.audit(r.Context(), audit.Entry{
		Event: string(EventReused), Request: earlier.Transaction.ID, Route: rt.Name, Customer: customer, Caller: caller,
		Method: r.Method, Host: r.Host, Target: r.URL.EscapedPath(),
	}, false)
	if err == nil {
		return nil
	}
	g.log.Error("audit log does not take an entry", zap.String("event", string(EventReused)), zap.Error(err))
	return storeRefusal(err)
}

// noteCancelled writes down that a transaction was stopped by its caller or an
// operator.
func (g *Gate) noteCancelled(ctx context.Context, t *Transaction) {
	if g.audit == nil {
		return
	}
	err := g.audit(ctx, audit.Entry{
		Event: string(EventCancelled), Request: t.ID, Route: t.Route, Digest: t.Digest,
		State: string(t.State), Reason: string(ProblemCancelled),
	}, false)
	if err != nil {
		g.log.Error("audit log does not take an entry", zap.String("transaction", t.ID),
			zap.String("event", string(EventCancelled)), zap.Error(err))
	}
}
