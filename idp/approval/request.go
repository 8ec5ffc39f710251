package approval

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// requestView is what the page of one pending request shows, and the page that
// asks for the password after it.
type requestView struct {
	subject
	Token      string
	Scopes     []scopeView
	Asked      moment
	Ends       moment
	Left       time.Duration
	Total      time.Duration
	NeedsProof bool
	Other      *elsewhere   // the provider at which the customer can prove himself
	Ways       ways         // in which the customer can prove himself
	Passkey    *passkeyView // to sign the approval with a passkey
	Others     int          // other requests that wait
	MustMatch  bool         // a number must be typed
	MatchError string       // "missing", "wrong" or empty
	TriesLeft  int
	Number     string // as it was typed, on the page that asks for a proof
	UserName   string // for password managers, on the page that asks for the password
	Error      string // key of a message, or empty
	Wait       string // how long to wait, in words, for "error.throttled"
	url        string
}

// refresh loads the page again when the time is over, so that it says so also
// without JavaScript.
func (v requestView) refresh() *refresh {
	return &refresh{Seconds: int(roundUp(v.Left, time.Second)/time.Second) + 1, URL: v.url}
}

// scopeView is one permission that is asked for.
type scopeView struct {
	Value       string
	Name        Text
	Description Text
	Required    bool
	Emphasize   bool
	Unticked    bool
}

// decisionPurpose is what the token of a decision form is bound to, with the id
// of the request.
const decisionPurpose = "decision"

// showRequest answers GET /requests/{id}: the request to decide, or what became
// of it.
func (a *App) showRequest(w http.ResponseWriter, r *http.Request, m match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	req, ok := a.ownRequest(w, r, s, m.id)
	if !ok {
		return
	}
	if a.open(req) {
		a.renderRequest(w, r, s, req)
		return
	}
	a.renderEnd(w, r, http.StatusOK, s, req, false)
}

// ownRequest returns a request of the customer, or answers itself: a request of
// somebody else and one that does not exist look the same.
func (a *App) ownRequest(w http.ResponseWriter, r *http.Request, s *session, id string) (*provider.Request, bool) {
	req, err := a.cfg.Provider.Request(r.Context(), s.data.Subject, id)
	if errors.Is(err, provider.ErrNotFound) {
		a.refuse(w, r, s, http.StatusNotFound, err)
		return nil, false
	}
	if err != nil {
		a.fail(w, r, err)
		return nil, false
	}
	return req, true
}

// open says whether a request can still be decided.
func (a *App) open(req *provider.Request) bool {
	return req.State == provider.StatePending && a.cfg.Now().Before(req.ExpiresAt)
}

// renderRequest renders the page on which the request is decided.
func (a *App) renderRequest(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request) {
	others, ok := a.others(w, r, s, req.ID)
	if !ok {
		return
	}
	v := a.requestView(a.locale(r), s, req, req.Scopes)
	v.Others = others
	if !a.demand(w, r, s, req, &v) {
		return
	}
	a.render(w, r, http.StatusOK, "request", s, v)
}

// demand says on the page how the customer has to prove himself for an approval. It
// answers itself if the store fails.
func (a *App) demand(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request, v *requestView) bool {
	account, ok := a.account(w, r, s)
	if !ok {
		return false
	}
	v.NeedsProof = !a.suffices(s, account, req)
	if !v.NeedsProof {
		return true
	}
	v.Ways = a.ways(s.user, account, req)
	v.Other = a.proofElsewhere(s, account, req, v.url)
	v.Passkey, ok = a.passkeyFor(w, r, s, v.Ways, req)
	return ok
}

// requestView prepares a pending request with some of its permissions.
func (a *App) requestView(l *locale, s *session, req *provider.Request, scopes []provider.Scope) requestView {
	now := a.cfg.Now()
	v := requestView{
		subject:   a.subject(l, req),
		Token:     formToken(s.secret, decisionPurpose, req.ID),
		Asked:     l.moment(req.CreatedAt, now, a.cfg.Location),
		Ends:      l.moment(req.ExpiresAt, now, a.cfg.Location),
		Left:      req.ExpiresAt.Sub(now),
		Total:     req.ExpiresAt.Sub(req.CreatedAt),
		MustMatch: req.MustMatch,
		TriesLeft: req.TriesLeft,
		url:       a.base + "/requests/" + req.ID,
	}
	for _, scope := range scopes {
		v.Scopes = append(v.Scopes, a.scopeView(l, scope))
	}
	// What deserves attention comes first.
	slices.SortStableFunc(v.Scopes, func(a, b scopeView) int {
		switch {
		case a.Emphasize == b.Emphasize:
			return 0
		case a.Emphasize:
			return -1
		}
		return 1
	})
	return v
}

// scopeView prepares a permission for showing. The standard ones, as long as the
// operator has not put them into words of his own, come in the customer's
// language.
func (a *App) scopeView(l *locale, scope provider.Scope) scopeView {
	v := scopeView{Value: scope.Name, Required: scope.Required, Emphasize: scope.Emphasize}
	name, description := scope.DisplayName, scope.Description
	key, english := "scope."+scope.Name, a.locales.all[0]
	if english.words[key] != "" && name == english.words[key] {
		name = l.words[key]
	}
	if english.words[key+".more"] != "" && description == english.words[key+".more"] {
		description = l.words[key+".more"]
	}
	if name == "" {
		name = scope.Name
	}
	v.Name, v.Description = newText(name), newText(description)
	return v
}

// others counts the other requests that wait for the customer.
func (a *App) others(w http.ResponseWriter, r *http.Request, s *session, id string) (int, bool) {
	pending, err := a.cfg.Provider.Pending(r.Context(), s.data.Subject)
	if err != nil {
		a.fail(w, r, err)
		return 0, false
	}
	n := 0
	for _, other := range pending {
		if other.ID != id {
			n++
		}
	}
	return n, true
}
