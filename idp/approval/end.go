package approval

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// endStatus is the status for a decision that came too late.
func endStatus(req *provider.Request) int {
	switch req.State {
	case provider.StateApproved, provider.StateRedeemed, provider.StateDenied:
		return http.StatusConflict
	}
	return http.StatusGone
}

// endView is what the page of a request that is over shows.
type endView struct {
	subject
	Kind    string // approved, denied, mismatched, reported, reported_late, expired, lapsed, cancelled: part of message keys
	Token   string // for reporting it afterwards
	Already bool   // this answers a decision that came second or too late
	When    *moment
	Granted []scopeView // permissions that were given
	Others  int
}

// endKinds says how a state is called on the page.
var endKinds = map[provider.State]string{
	provider.StateApproved:  "approved",
	provider.StateRedeemed:  "approved",
	provider.StateDenied:    "denied",
	provider.StateCancelled: "cancelled",
}

// endOf says what became of a request that is over, and when.
func endOf(req *provider.Request) (kind string, when time.Time) {
	kind, when = endKinds[req.State], req.ExpiresAt
	if !req.DecidedAt.IsZero() {
		when = req.DecidedAt
	}
	switch {
	case req.Reported && len(req.Granted) > 0:
		kind = "reported_late"
	case req.Reported:
		kind = "reported"
	case req.Mismatched:
		kind = "mismatched"
	case kind != "":
	case !req.DecidedAt.IsZero():
		// Approved, but whoever asked has not come for it in time.
		kind, when = "lapsed", req.ExpiresAt
	default:
		kind = "expired"
	}
	return kind, when
}

// renderEnd renders what became of a request.
func (a *App) renderEnd(w http.ResponseWriter, r *http.Request, status int, s *session, req *provider.Request, already bool) {
	others, ok := a.others(w, r, s, req.ID)
	if !ok {
		return
	}
	l := a.locale(r)
	now := a.cfg.Now()
	kind, when := endOf(req)
	v := endView{subject: a.subject(l, req), Kind: kind, Already: already, Others: others}
	for _, scope := range req.Scopes {
		if v.Kind == "approved" && slices.Contains(req.Granted, scope.Name) {
			v.Granted = append(v.Granted, a.scopeView(l, scope))
		}
	}
	if !req.Reported {
		v.Token = formToken(s.secret, decisionPurpose, req.ID)
	}
	if v.Kind != "cancelled" {
		moment := l.moment(when.Round(time.Second), now, a.cfg.Location)
		v.When = &moment
	}
	a.render(w, r, status, "end", s, v)
}
