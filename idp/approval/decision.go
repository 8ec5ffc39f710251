package approval

import (
	"context"
	"errors"
	"net/http"
	"slices"

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
	case len(choices) == 1 && choices[0] == "report":
		a.decided(w, r, s, req, a.cfg.Provider.Report(r.Context(), s.data.Subject, req.ID))
	case len(choices) == 1 && choices[0] == "none":
		// Enter was pressed in a field, without JavaScript to stop it.
		http.Redirect(w, r, a.base+"/requests/"+m.id, http.StatusSeeOther)
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
	if req.MustMatch && !isMatchCode(r.PostForm.Get("number")) {
		// No proof is asked for, either, before the number is there.
		a.renderRequestAgain(w, r, s, req, chosen, provider.ErrMatchMissing)
		return
	}
	agreed, ok := a.prove(w, r, s, req, chosen)
	if !ok {
		return
	}
	acr, ok := a.acr(agreed.proof, req)
	if !ok {
		a.refuseWeak(w, r, s, provider.ErrACR)
		return
	}
	evidence, err := a.keepEvidence(r.Context(), a.locale(r), s, req, chosen, agreed)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	err = a.cfg.Provider.Approve(r.Context(), provider.Approval{
		Subject:   s.data.Subject,
		RequestID: req.ID,
		Scopes:    chosen,
		AuthTime:  agreed.At,
		AMR:       agreed.AMR,
		ACR:       acr,
		MatchCode: r.PostForm.Get("number"),
	})
	if err != nil {
		a.dropEvidence(context.WithoutCancel(r.Context()), evidence)
	}
	if errors.Is(err, provider.ErrMatchWrong) || errors.Is(err, provider.ErrMatchMissing) {
		a.renderRequestAgain(w, r, s, req, chosen, err)
		return
	}
	a.decided(w, r, s, req, err)
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
	case errors.Is(err, provider.ErrMatchDenied):
		current, ok := a.ownRequest(w, r, s, req.ID)
		if ok {
			a.renderEnd(w, r, http.StatusUnprocessableEntity, s, current, false)
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
