package approval

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/caddyciba/gateway/idp/provider"
)

// historyPage is how many requests one page of the history has.
const historyPage = 20

// historyView is what one page of the history shows.
type historyView struct {
	Items []historyItem
	Older string // address of the next page, or empty
	First bool   // this is the first page
}

// historyItem is one request of the history.
type historyItem struct {
	subject
	Kind string // as on the page of its end, or "waiting"
	When moment
}

// showHistory answers GET /history: what the customer was asked, the newest first,
// and on the first page what still waits.
func (a *App) showHistory(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	before := r.URL.Query().Get("before")
	page, err := a.cfg.Provider.History(r.Context(), s.data.Subject, before, historyPage)
	if errors.Is(err, provider.ErrCursor) {
		a.refuse(w, r, s, http.StatusNotFound, err)
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	var waiting []*provider.Request
	if before == "" {
		waiting, err = a.cfg.Provider.Pending(r.Context(), s.data.Subject)
		if err != nil {
			a.fail(w, r, err)
			return
		}
	}
	l := a.locale(r)
	v := historyView{First: before == ""}
	for i := len(waiting) - 1; i >= 0; i-- {
		if a.open(waiting[i]) {
			v.Items = append(v.Items, a.historyItem(l, waiting[i]))
		}
	}
	for _, req := range page.Requests {
		v.Items = append(v.Items, a.historyItem(l, req))
	}
	if page.Next != "" {
		v.Older = a.base + "/history?" + url.Values{"before": {page.Next}}.Encode()
	}
	a.render(w, r, http.StatusOK, "history", s, v)
}

func (a *App) historyItem(l *locale, req *provider.Request) historyItem {
	kind, when := endOf(req)
	if a.open(req) {
		kind, when = "waiting", req.CreatedAt
	}
	return historyItem{subject: a.subject(l, req), Kind: kind, When: l.moment(when, a.cfg.Now(), a.cfg.Location)}
}
