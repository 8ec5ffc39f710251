package approval

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/provider"
)

// signInView is what the sign-in page shows.
type signInView struct {
	Token string
	Next  string
	Name  string
	Error string // key of a message, or empty
	Wait  string // how long to wait, in words, for the message "error.throttled"

	// Passkey are the options of a sign-in with a passkey; nil where there can be
	// none.
	Passkey *passkeyView

	// Elsewhere are the other providers at which one can sign in.
	Elsewhere []elsewhere
}

// signInPurpose is what the token of the sign-in form is bound to.
const signInPurpose = "sign-in"

// showSignIn answers GET /sign-in.
func (a *App) showSignIn(w http.ResponseWriter, r *http.Request, _ match) {
	next := a.safeNext(r.URL.Query().Get("next"))
	_, err := a.session(r)
	if err == nil {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	if !errors.Is(err, errNoSession) {
		a.fail(w, r, err)
		return
	}
	a.renderSignIn(w, r, http.StatusOK, signInView{Next: next})
}

// renderSignIn renders the form with a token that is bound to the form cookie
// of this browser, which is set if it is not there yet.
func (a *App) renderSignIn(w http.ResponseWriter, r *http.Request, status int, v signInView) {
	secret, ok := a.formSecret(w, r)
	if !ok {
		return
	}
	v.Token, v.Elsewhere = formToken(secret, signInPurpose), a.signInsElsewhere(v.Next)
	if a.cfg.Factors.HasPasskeys() {
		options, err := a.cfg.Factors.SignInOptions(r.Context(), browserBinding(secret))
		if err != nil {
			a.fail(w, r, err)
			return
		}
		v.Passkey = &passkeyView{Options: string(options)}
	}
	a.render(w, r, status, "signin", nil, v)
}

// formSecret returns the secret of the form cookie, by which a browser in which nobody
// is signed in is known, and sets the cookie if it is not there yet.
func (a *App) formSecret(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	secret, ok := a.cookieSecret(r, "form")
	if ok {
		return secret, true
	}
	secret, err := a.newSecret()
	if err != nil {
		a.fail(w, r, err)
		return nil, false
	}
	a.setCookie(w, "form", secret)
	return secret, true
}

// signIn answers POST /sign-in: with 303 to where the customer wanted to go, or
// with the form again. Unknown name, wrong password and disabled user get the
// same answer after the same work.
func (a *App) signIn(w http.ResponseWriter, r *http.Request, _ match) {
	if !a.parseForm(w, r) {
		return
	}
	next := a.safeNext(r.PostForm.Get("next"))
	name := r.PostForm.Get("username")
	again := signInView{Next: next, Name: clip(name, maxUserName)}
	secret, ok := a.cookieSecret(r, "form")
	if !ok || checkFormToken(r, secret, signInPurpose) != nil {
		a.cfg.Logger.Info("sign-in form refused", zap.String("source", a.source(r)))
		again.Error = "error.form"
		a.renderSignIn(w, r, http.StatusForbidden, again)
		return
	}
	user, err := a.provePassword(r.Context(), a.source(r), name, r.PostForm.Get("password"))
	var throttled *throttledError
	switch {
	case errors.As(err, &throttled):
		a.cfg.Logger.Info("sign-in throttled", zap.String("source", a.source(r)))
		setRetryAfter(w, throttled.Wait)
		again.Error = "error.throttled"
		again.Wait = a.locale(r).duration(roundUp(throttled.Wait, time.Minute))
		a.renderSignIn(w, r, http.StatusTooManyRequests, again)
		return
	case errors.Is(err, errBusy):
		setRetryAfter(w, slotWait)
		again.Error = "error.busy"
		a.renderSignIn(w, r, http.StatusServiceUnavailable, again)
		return
	case errors.Is(err, errWrong):
		a.cfg.Logger.Info("sign-in failed", zap.String("source", a.source(r)))
		again.Error = "error.wrong"
		a.renderSignIn(w, r, http.StatusUnauthorized, again)
		return
	case err != nil:
		a.fail(w, r, err)
		return
	}
	a.afterPassword(w, r, user, secret, next)
}

// admit starts the session of a customer who has proven who he is, and leads to where
// he wanted to go.
func (a *App) admit(w http.ResponseWriter, r *http.Request, user *provider.User, p proof, next string) {
	_, err := a.startSession(w, r, user, p)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.cfg.Logger.Info("signed in", zap.String("subject", user.ID), zap.String("method", string(p.Method)), zap.String("source", a.source(r)))
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// signOutPurpose is what the token of the sign-out form is bound to.
const signOutPurpose = "sign-out"

// signOut answers POST /sign-out.
func (a *App) signOut(w http.ResponseWriter, r *http.Request, _ match) {
	if !a.parseForm(w, r) {
		return
	}
	s, err := a.session(r)
	if errors.Is(err, errNoSession) {
		a.clearCookie(w, "session")
		http.Redirect(w, r, a.signInURL(""), http.StatusSeeOther)
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	err = checkFormToken(r, s.secret, signOutPurpose)
	if err != nil {
		a.refuse(w, r, s, http.StatusForbidden, err)
		return
	}
	err = a.endSession(w, r, s)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	http.Redirect(w, r, a.signInURL(""), http.StatusSeeOther)
}

// setRetryAfter sets the header in whole seconds, rounded up.
func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	seconds := int64(roundUp(wait, time.Second) / time.Second)
	w.Header().Set("Retry-After", strconv.FormatInt(max(seconds, 1), 10))
}

// roundUp rounds a duration up to a multiple of unit.
func roundUp(d, unit time.Duration) time.Duration {
	return (d + unit - 1) / unit * unit
}

// clip cuts text from outside to at most n bytes, at a character boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
