package approval

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// decide answers POST /requests/{id}/decision. The provider makes sure that a
// request is decided once; a second decision learns of the first.
func (a *App) decide(w http.ResponseWriter, r *http.Request, m match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	if !a.parseForm(w, r) {
		return
	}
	err := checkFormToken(r, s.secret, decisionPurpose, m.id)
	if err != nil {
		a.refuse(w, r, s, http.StatusForbidden, err)
		return
	}
	req, ok := a.ownRequest(w, r, s, m.id)
	if !ok {
		return
	}
	choices := r.PostForm["decision"]
	switch {
	case len(choices) == 1 && choices[0] == "approve":
		a.approve(w, r, s, req)
	case len(choices) == 1 && choices[0] == "deny":
		a.decided(w, r, s, req, a.cfg.Provider.Deny(r.Context(), s.data.Subject, req.ID))
	default:
		a.refuse(w, r, s, http.StatusBadRequest, errChoice)
	}
}

// approve lets the request through with the permissions that are ticked, after a
// proof where one is needed.
func (a *App) approve(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request) {
	if !a.open(req) {
		// No password is asked for what cannot be approved any more.
		a.renderEnd(w, r, endStatus(req), s, req, true)
		return
	}
	chosen, ok := choose(req.Scopes, r.PostForm["scope"])
	if !ok {
		a.refuse(w, r, s, http.StatusBadRequest, errChoice)
		return
	}
	if a.needsProof(s, req) && !a.prove(w, r, s, req, chosen) {
		return
	}
	acr := ""
	if slices.Contains(req.ACRValues, a.cfg.ACR) {
		acr = a.cfg.ACR
	}
	a.decided(w, r, s, req, a.cfg.Provider.Approve(r.Context(), provider.Approval{
		Subject:   s.data.Subject,
		RequestID: req.ID,
		Scopes:    chosen,
		AuthTime:  s.data.AuthTime,
		AMR:       s.data.AMR,
		ACR:       acr,
	}))
}

// choose returns the names of the permissions that are granted: the required
// ones and those that are ticked. It refuses what was not asked for.
func choose(asked []provider.Scope, ticked []string) ([]string, bool) {
	known := map[string]bool{}
	var chosen []string
	for _, scope := range asked {
		known[scope.Name] = true
		if scope.Required || slices.Contains(ticked, scope.Name) {
			chosen = append(chosen, scope.Name)
		}
	}
	for _, name := range ticked {
		if !known[name] {
			return nil, false
		}
	}
	return chosen, true
}

// prove asks for the password, as sign-in does and against the same counters. On
// success the session remembers when that was.
func (a *App) prove(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request, chosen []string) bool {
	again := &problem{chosen: chosen}
	password := r.PostForm.Get("password")
	if password == "" {
		again.message = "error.no_password"
		a.renderRequest(w, r, http.StatusUnauthorized, s, req, again)
		return false
	}
	user, err := a.provePassword(r.Context(), a.source(r), s.user.Username, password)
	if err == nil && user.ID != s.user.ID {
		err = errWrong
	}
	var throttled *throttledError
	switch {
	case err == nil:
		a.remember(r.Context(), s)
		return true
	case errors.As(err, &throttled):
		setRetryAfter(w, throttled.Wait)
		again.message, again.wait = "error.throttled", throttled.Wait
		a.renderRequest(w, r, http.StatusTooManyRequests, s, req, again)
	case errors.Is(err, errBusy):
		setRetryAfter(w, slotWait)
		again.message = "error.busy"
		a.renderRequest(w, r, http.StatusServiceUnavailable, s, req, again)
	case errors.Is(err, errWrong):
		a.cfg.Logger.Info("wrong password at approval", zap.String("subject", s.user.ID), zap.String("source", a.source(r)))
		again.message = "error.wrong_password"
		a.renderRequest(w, r, http.StatusUnauthorized, s, req, again)
	default:
		a.fail(w, r, err)
	}
	return false
}

// remember notes a proof in the session. Losing the write only means that the
// next request asks again.
func (a *App) remember(ctx context.Context, s *session) {
	now := a.cfg.Now()
	s.data.AuthTime, s.data.Seen, s.data.AMR = now, now, []string{"pwd"}
	err := a.saveSession(ctx, s)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		a.cfg.Logger.Warn("noting a proof in the session", errField(err))
	}
}

// decided answers for what the provider made of a decision: a redirect to the
// page of the request, which says what became of it, or the page for what stood
// in the way.
func (a *App) decided(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request, err error) {
	switch {
	case err == nil:
		http.Redirect(w, r, a.base+"/requests/"+req.ID, http.StatusSeeOther)
	case errors.Is(err, provider.ErrDecided), errors.Is(err, provider.ErrExpired):
		// Somebody was faster, or time was: read again what became of it.
		current, ok := a.ownRequest(w, r, s, req.ID)
		if ok {
			a.renderEnd(w, r, endStatus(current), s, current, true)
		}
	case errors.Is(err, provider.ErrNotFound):
		a.refuse(w, r, s, http.StatusNotFound, err)
	case errors.Is(err, provider.ErrScope):
		a.refuse(w, r, s, http.StatusBadRequest, err)
	case errors.Is(err, provider.ErrACR):
		a.refuseWeak(w, r, s, err)
	case errors.Is(err, provider.ErrUserNotFound), errors.Is(err, provider.ErrClientDisabled):
		a.refuse(w, r, s, http.StatusNotFound, err)
	default:
		a.fail(w, r, err)
	}
}

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
	Kind    string // approved, denied, expired, lapsed, cancelled: part of message keys
	Already bool   // this answers a decision that came second or too late
	When    *moment
	Others  int
}

// endKinds says how a state is called on the page.
var endKinds = map[provider.State]string{
	provider.StateApproved:  "approved",
	provider.StateRedeemed:  "approved",
	provider.StateDenied:    "denied",
	provider.StateCancelled: "cancelled",
}

// renderEnd renders what became of a request.
func (a *App) renderEnd(w http.ResponseWriter, r *http.Request, status int, s *session, req *provider.Request, already bool) {
	others, ok := a.others(w, r, s, req.ID)
	if !ok {
		return
	}
	l := a.locale(r)
	now := a.cfg.Now()
	v := endView{subject: a.subject(l, req), Kind: endKinds[req.State], Already: already, Others: others}
	when := req.ExpiresAt
	if !req.DecidedAt.IsZero() {
		when = req.DecidedAt
	}
	switch {
	case v.Kind != "":
	case !req.DecidedAt.IsZero():
		// Approved, but whoever asked has not come for it in time.
		v.Kind, when = "lapsed", req.ExpiresAt
	default:
		v.Kind = "expired"
	}
	if v.Kind != "cancelled" {
		moment := l.moment(when.Round(time.Second), now, a.cfg.Location)
		v.When = &moment
	}
	a.render(w, r, status, "end", s, v)
}
