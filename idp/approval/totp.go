package approval

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyciba/gateway/idp/approval/factor"
)

// totpView is what the page shows on which an authenticator app is set up.
type totpView struct {
	Token  string
	Ticket string
	Secret string // in groups of four
	URL    string
	Size   int    // of the QR code
	Path   string // of the QR code, in SVG
	Error  string // key of a message, or empty
}

const totpPurpose = "totp"

// showTOTP answers GET /devices/totp.
func (a *App) showTOTP(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok || !a.mayChange(w, r, s) {
		return
	}
	setup, err := a.cfg.Factors.NewTOTP(r.Context(), s.user.ID, s.user.Username, sessionBinding(s))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.renderTOTP(w, r, http.StatusOK, s, setup, "")
}

// mayChange makes sure that the customer may change what he proves with now, and
// answers itself if he must prove himself first.
func (a *App) mayChange(w http.ResponseWriter, r *http.Request, s *session) bool {
	account, ok := a.account(w, r, s)
	if !ok {
		return false
	}
	if a.fresh(s, account) {
		return true
	}
	a.renderProve(w, r, http.StatusUnauthorized, s, proveView{Next: a.base + "/devices", Error: "factor.error.fresh"})
	return false
}

func (a *App) renderTOTP(w http.ResponseWriter, r *http.Request, status int, s *session, setup *factor.TOTPSetup, message string) {
	code, err := factor.NewQR(setup.URL)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.render(w, r, status, "totp", s, totpView{
		Token: formToken(s.secret, totpPurpose), Ticket: setup.Ticket, Secret: groups(setup.Secret),
		URL: setup.URL, Size: code.Size, Path: code.Path(), Error: message,
	})
}

// groups writes text in groups of four.
func groups(text string) string {
	var b strings.Builder
	for i, r := range text {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// addTOTP answers POST /devices/totp.
func (a *App) addTOTP(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.postedBy(w, r, totpPurpose)
	if !ok || !a.mayChange(w, r, s) {
		return
	}
	ticket := r.PostForm.Get("ticket")
	err := a.cfg.Factors.AddTOTP(r.Context(), s.user.ID, ticket, r.PostForm.Get("code"), sessionBinding(s))
	if err == nil {
		a.changed(r, ChangeTOTPAdded, s.user.ID)
		http.Redirect(w, r, a.base+"/devices", http.StatusSeeOther)
		return
	}
	var setup *factor.TOTPSetup
	message := "factor.error.code"
	if errors.Is(err, factor.ErrWrong) {
		setup, err = a.cfg.Factors.ReadTOTP(r.Context(), s.user.ID, s.user.Username, ticket, sessionBinding(s))
	}
	if errors.Is(err, factor.ErrStale) {
		message = "error.form"
		setup, err = a.cfg.Factors.NewTOTP(r.Context(), s.user.ID, s.user.Username, sessionBinding(s))
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.renderTOTP(w, r, http.StatusUnauthorized, s, setup, message)
}
