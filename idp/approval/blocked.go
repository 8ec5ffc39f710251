package approval

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/provider"
)

// blockedView is what the page of those who are blocked shows.
type blockedView struct {
	Items []blockedItem
}

// blockedItem is one who cannot ask the customer.
type blockedItem struct {
	ID    string
	Name  Text
	Logo  string
	Since moment
	Token string
}

// Initial is the letter of the monogram.
func (i blockedItem) Initial() string { return i.Name.Initial() }

// unblockPurpose is what the token of the form that lifts a block is bound to, with
// the id of who is blocked.
const unblockPurpose = "unblock"

// showBlocked answers GET /blocked: who cannot ask the customer because of a report.
func (a *App) showBlocked(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	blocks, err := a.cfg.Provider.ListBlocks(r.Context(), s.data.Subject)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	l, now := a.locale(r), a.cfg.Now()
	var v blockedView
	for _, block := range blocks {
		v.Items = append(v.Items, blockedItem{
			ID:    block.Client.ID,
			Name:  newText(clientName(block.Client)),
			Logo:  a.logoURL(block.Client),
			Since: l.moment(block.Since, now, a.cfg.Location),
			Token: formToken(s.secret, unblockPurpose, block.Client.ID),
		})
	}
	a.render(w, r, http.StatusOK, "blocked", s, v)
}

// unblock answers POST /blocked: lets one of them ask again.
func (a *App) unblock(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	if !a.parseForm(w, r) {
		return
	}
	client := r.PostForm.Get("blocked")
	err := checkFormToken(r, s.secret, unblockPurpose, client)
	if err != nil {
		a.refuse(w, r, s, http.StatusForbidden, err)
		return
	}
	err = a.cfg.Provider.Unblock(r.Context(), s.data.Subject, client)
	if err != nil && !errors.Is(err, provider.ErrNotFound) {
		// Who is not blocked any more is what was asked for.
		a.fail(w, r, err)
		return
	}
	a.cfg.Logger.Info("block lifted", zap.String("subject", s.user.ID), zap.String("client", client))
	http.Redirect(w, r, a.base+"/blocked", http.StatusSeeOther)
}
