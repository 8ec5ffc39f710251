package approval

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// codeView is what the page shows that asks for a code after the password.
type codeView struct {
	Token  string
	Ticket string // says whose password was right
	Next   string
	Error  string // key of a message, or empty
	Wait   string
}

// codeBinding ties the right password to the browser in which it was typed.
func codeBinding(secret []byte) factor.Binding {
	return append(factor.Binding{"password"}, browserBinding(secret)...)
}

// afterPassword goes on with a sign-in after the right password: customers with an
// authenticator app are asked for a code.
func (a *App) afterPassword(w http.ResponseWriter, r *http.Request, user *provider.User, secret []byte, next string) {
	account, err := a.cfg.Factors.Account(r.Context(), user.ID)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if account.TOTP == nil {
		a.admit(w, r, user, a.proven(methodPassword), next)
		return
	}
	ticket, err := a.cfg.Factors.Ticket(r.Context(), []byte(user.ID), codeBinding(secret))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.renderCode(w, r, http.StatusOK, secret, codeView{Ticket: ticket, Next: next})
}

func (a *App) renderCode(w http.ResponseWriter, r *http.Request, status int, secret []byte, v codeView) {
	v.Token = formToken(secret, signInPurpose)
	a.render(w, r, status, "code", nil, v)
}

// signInCode answers POST /sign-in/code.
func (a *App) signInCode(w http.ResponseWriter, r *http.Request, _ match) {
	if !a.parseForm(w, r) {
		return
	}
	next := a.safeNext(r.PostForm.Get("next"))
	secret, ok := a.cookieSecret(r, "form")
	if !ok || checkFormToken(r, secret, signInPurpose) != nil {
		a.renderSignIn(w, r, http.StatusForbidden, signInView{Next: next, Error: "error.form"})
		return
	}
	v := codeView{Ticket: r.PostForm.Get("ticket"), Next: next}
	subject, err := a.cfg.Factors.ReadTicket(r.Context(), v.Ticket, codeBinding(secret))
	if errors.Is(err, factor.ErrStale) {
		a.renderSignIn(w, r, http.StatusUnauthorized, signInView{Next: next, Error: "error.form"})
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	err = a.proveCode(r.Context(), string(subject), r.PostForm.Get("code"))
	if err != nil {
		status, message, wait := a.typedError(w, r, err)
		if status == 0 {
			a.fail(w, r, err)
			return
		}
		v.Error, v.Wait = message, a.locale(r).duration(roundUp(wait, time.Minute))
		a.renderCode(w, r, status, secret, v)
		return
	}
	user, err := a.cfg.Users.BySubject(r.Context(), string(subject))
	if isUnknownUser(user, err) || err == nil && user.Disabled {
		a.renderSignIn(w, r, http.StatusUnauthorized, signInView{Next: next, Error: "error.wrong"})
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.admit(w, r, user, a.proven(methodPasswordOTP), next)
}

// recoveryView is what the page shows on which a customer signs in with a recovery
// code.
type recoveryView struct {
	Token string
	Name  string
	Error string // key of a message, or empty
	Wait  string
}

// showRecovery answers GET /sign-in/recovery.
func (a *App) showRecovery(w http.ResponseWriter, r *http.Request, _ match) {
	a.renderRecovery(w, r, http.StatusOK, recoveryView{})
}

func (a *App) renderRecovery(w http.ResponseWriter, r *http.Request, status int, v recoveryView) {
	secret, ok := a.formSecret(w, r)
	if !ok {
		return
	}
	v.Token = formToken(secret, signInPurpose)
	a.render(w, r, status, "recovery", nil, v)
}

// signInRecovery answers POST /sign-in/recovery. A recovery code leads to the page on
// which a new passkey is added, and approves nothing.
func (a *App) signInRecovery(w http.ResponseWriter, r *http.Request, _ match) {
	if !a.parseForm(w, r) {
		return
	}
	name := r.PostForm.Get("username")
	v := recoveryView{Name: clip(name, maxUserName)}
	secret, ok := a.cookieSecret(r, "form")
	if !ok || checkFormToken(r, secret, signInPurpose) != nil {
		v.Error = "error.form"
		a.renderRecovery(w, r, http.StatusForbidden, v)
		return
	}
	user, err := a.recover(r, name, r.PostForm.Get("password"), r.PostForm.Get("code"))
	if err == nil {
		a.changed(r, ChangeRecoveryUsed, user.ID)
		a.admit(w, r, user, a.proven(methodRecovery), a.base+"/devices")
		return
	}
	status, message, wait := a.typedError(w, r, err)
	switch {
	case status == 0:
		a.fail(w, r, err)
		return
	case status == http.StatusUnauthorized:
		message = "factor.error.recovery"
	}
	v.Error, v.Wait = message, a.locale(r).duration(roundUp(wait, time.Minute))
	a.renderRecovery(w, r, status, v)
}

// recover checks a recovery code, and the password of a customer who has one. It does
// the same work and gives the same errors for customers who do not exist.
func (a *App) recover(r *http.Request, name, password, code string) (*provider.User, error) {
	ctx := r.Context()
	name = loginName(name)
	err := a.takeAttempts(ctx, sourceCounter(a.source(r)), recoveryCounter(name))
	if err != nil {
		return nil, err
	}
	user, err := a.cfg.Users.ByLogin(ctx, name)
	if isUnknownUser(user, err) {
		user = nil
	} else if err != nil {
		return nil, err
	}
	right, err := a.comparePassword(ctx, user, password)
	if err != nil {
		return nil, err
	}
	subject := "nobody " + counterID("nobody", name)
	if user != nil && !user.Disabled {
		right = right || user.PasswordHash == ""
		subject = user.ID
	}
	if !right {
		return nil, errWrong
	}
	err = a.cfg.Factors.Recover(ctx, subject, code)
	if errors.Is(err, factor.ErrWrong) {
		return nil, errWrong
	}
	if err != nil {
		return nil, err
	}
	return user, nil
}

// codesView are new recovery codes, which are shown once.
type codesView struct {
	Codes []string
	Next  string
}

// makeRecovery answers POST /devices/recovery.
func (a *App) makeRecovery(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.postedBy(w, r, devicesPurpose)
	if !ok || !a.mayChange(w, r, s) {
		return
	}
	a.renderNewCodes(w, r, s, a.base+"/devices")
}

func (a *App) renderNewCodes(w http.ResponseWriter, r *http.Request, s *session, next string) {
	codes, err := a.cfg.Factors.NewRecoveryCodes(r.Context(), s.user.ID)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.changed(r, ChangeRecoveryMade, s.user.ID)
	a.render(w, r, http.StatusOK, "codes", s, codesView{Codes: codes, Next: next})
}
