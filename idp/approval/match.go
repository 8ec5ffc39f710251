package approval

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddyciba/gateway/idp/provider"
)

// isMatchCode says whether what was typed is written as a number to match: two ASCII
// digits and nothing else. Anything else is no try.
func isMatchCode(typed string) bool { return len(typed) == 2 && allDigits(typed) }

// renderRequestAgain renders the page of a request that was not approved for its
// number, with the permissions as they were chosen.
func (a *App) renderRequestAgain(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request, chosen []string, cause error) {
	current, ok := a.ownRequest(w, r, s, req.ID)
	if !ok {
		return
	}
	if !a.open(current) {
		a.renderEnd(w, r, endStatus(current), s, current, true)
		return
	}
	others, ok := a.others(w, r, s, req.ID)
	if !ok {
		return
	}
	v := a.requestView(a.locale(r), s, current, current.Scopes)
	v.Others = others
	v.MatchError = "missing"
	if errors.Is(cause, provider.ErrMatchWrong) {
		v.MatchError = "wrong"
	}
	if !a.demand(w, r, s, current, &v) {
		return
	}
	for i := range v.Scopes {
		v.Scopes[i].Unticked = !slices.Contains(chosen, v.Scopes[i].Value)
	}
	a.render(w, r, http.StatusUnprocessableEntity, "request", s, v)
}
