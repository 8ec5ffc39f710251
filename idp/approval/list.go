package approval

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// listRefresh is how often the list is loaded again without JavaScript.
const listRefresh = 10

// subject is what a page says about a request, wherever it appears.
type subject struct {
	ID      string
	Client  Text
	Logo    string // address, or empty
	Message *Text
	Place   *Text // where the request was made
	Facts   facts
}

// Initial is the letter of the client's monogram.
func (s subject) Initial() string { return s.Client.Initial() }

// HasMore says whether there is something behind the fold.
func (f facts) HasMore() bool {
	for _, g := range f.Groups {
		if len(g.More) > 0 {
			return true
		}
	}
	return false
}

// subject prepares what a request says for showing.
func (a *App) subject(l *locale, req *provider.Request) subject {
	s := subject{ID: req.ID, Client: newText(clientName(req.Client)), Logo: a.logoURL(req.Client), Facts: l.newFacts(req.AuthorizationDetails, req.Details)}
	if req.Place != "" {
		place := newText(req.Place)
		s.Place = &place
	}
	if req.BindingMessage != "" {
		message := newText(req.BindingMessage)
		s.Message = &message
	}
	return s
}

// clientName is the registered name, or the id of a client that has none.
func clientName(c provider.ClientInfo) string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// displayName is how the page names the customer.
func displayName(u *provider.User) string {
	if u.Name != "" {
		return u.Name
	}
	return u.Username
}

// listView is what the list shows.
type listView struct {
	Items     []listItem
	OfferPush bool // to switch notifications on
	url       string
}

// listItem is one request of the list.
type listItem struct {
	subject
	Left time.Duration
}

func (v listView) refresh() *refresh { return &refresh{Seconds: listRefresh, URL: v.url} }

// showList answers GET /: all requests that wait for the customer, oldest first,
// so that a new one never pushes another away from under a finger. None opens
// by itself.
func (a *App) showList(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	pending, err := a.cfg.Provider.Pending(r.Context(), s.data.Subject)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	l := a.locale(r)
	now := a.cfg.Now()
	v := listView{url: a.base + "/"}
	for _, req := range pending {
		left := req.ExpiresAt.Sub(now)
		if left <= 0 {
			continue
		}
		v.Items = append(v.Items, listItem{subject: a.subject(l, req), Left: left})
	}
	v.OfferPush = len(v.Items) == 0 && a.offersPush(r, s)
	a.render(w, r, http.StatusOK, "list", s, v)
}

// signedIn returns the session, or answers itself: with the way to the sign-in
// page, from where the customer comes back to the page that he wanted.
func (a *App) signedIn(w http.ResponseWriter, r *http.Request) (*session, bool) {
	s, err := a.session(r)
	if err == nil {
		return s, true
	}
	if !errors.Is(err, errNoSession) {
		a.fail(w, r, err)
		return nil, false
	}
	next := r.URL.Path
	m := a.match(r)
	if m.route == a.routes.decision {
		next = a.base + "/requests/" + m.id
	}
	http.Redirect(w, r, a.signInURL(a.safeNext(next)), http.StatusSeeOther)
	return nil, false
}
