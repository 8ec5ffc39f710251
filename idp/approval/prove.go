package approval

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// proveView is what the page shows that asks who is signed in for another proof.
type proveView struct {
	Ways     ways
	Passkey  *passkeyView
	Other    *elsewhere // the provider at which the customer has signed in
	Token    string
	Next     string
	UserName string
	Error    string // key of a message, or empty
	Wait     string
}

const provePurpose = "prove"

// proveURL leads to another proof, and from there to a page.
func (a *App) proveURL(next string) string { return a.base + "/prove?next=" + next }

// showProve answers GET /prove.
func (a *App) showProve(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	a.renderProve(w, r, http.StatusOK, s, proveView{Next: a.safeNext(r.URL.Query().Get("next"))})
}

// renderProve renders the page with the ways that are open to the customer.
func (a *App) renderProve(w http.ResponseWriter, r *http.Request, status int, s *session, v proveView) {
	account, ok := a.account(w, r, s)
	if !ok {
		return
	}
	v.Ways = a.ways(s.user, account, nil)
	v.Other = a.proofElsewhere(s, account, nil, v.Next)
	v.Token = formToken(s.secret, provePurpose)
	v.UserName = s.user.Username
	if v.Ways.Passkey {
		options, err := a.cfg.Factors.ProofOptions(r.Context(), s.user.ID, sessionBinding(s))
		if err != nil {
			a.fail(w, r, err)
			return
		}
		v.Passkey = &passkeyView{Options: string(options)}
	}
	a.render(w, r, status, "prove", s, v)
}

// proveIdentity answers POST /prove: with a passkey, or with a password.
func (a *App) proveIdentity(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.postedBy(w, r, provePurpose)
	if !ok {
		return
	}
	v := proveView{Next: a.safeNext(r.PostForm.Get("next"))}
	account, ok := a.account(w, r, s)
	if !ok {
		return
	}
	var p proof
	var err error
	if r.PostForm.Has("response") {
		var user *provider.User
		user, p, err = a.provePasskey(r, sessionBinding(s))
		if err == nil && user.ID != s.user.ID {
			err = factor.ErrWrong
		}
	} else {
		p, err = a.proveTyped(r, s, account, nil)
	}
	if err == nil {
		// A new session, so that nobody who knew the old one gains by the proof.
		a.admit(w, r, s.user, p, v.Next)
		return
	}
	status, message, wait := a.typedError(w, r, err)
	switch {
	case status == 0:
		status, message = a.passkeyError(r, err)
		if status == 0 {
			a.fail(w, r, err)
			return
		}
	case status == http.StatusTooManyRequests && fullOf(err, sessionCounter(s.record.ID)):
		a.endGuessing(w, r, s, v.Next)
		return
	}
	v.Error, v.Wait = message, a.locale(r).duration(roundUp(wait, time.Minute))
	a.renderProve(w, r, status, s, v)
}

// postedBy reads a posted form of a page behind sign-in and returns its session, or
// answers itself.
func (a *App) postedBy(w http.ResponseWriter, r *http.Request, purpose ...string) (*session, bool) {
	s, ok := a.signedIn(w, r)
	if !ok || !a.parseForm(w, r) {
		return nil, false
	}
	err := checkFormToken(r, s.secret, purpose...)
	if err != nil {
		a.refuse(w, r, s, http.StatusForbidden, err)
		return nil, false
	}
	return s, true
}

// proveTyped checks the password of a posted form, and the code beside it where the
// customer has an authenticator app, as a proof for a request or for anything else.
// It returns the errors of proveAgain, and errNoWay where a password can't be enough.
func (a *App) proveTyped(r *http.Request, s *session, account *factor.Account, req *provider.Request) (proof, error) {
	open := a.ways(s.user, account, req)
	if !open.Password {
		return proof{}, errNoWay
	}
	err := a.proveAgain(r.Context(), a.source(r), s, r.PostForm.Get("password"))
	if err != nil {
		return proof{}, err
	}
	if !open.Code {
		return a.proven(methodPassword), nil
	}
	err = a.proveCode(r.Context(), s.user.ID, r.PostForm.Get("code"))
	if err != nil {
		return proof{}, err
	}
	return a.proven(methodPasswordOTP), nil
}

// errNoWay says that nothing that can be typed would be enough.
var errNoWay = errors.New("no password is enough here")

// errWrongCode says that a code of the authenticator app is not the one.
var errWrongCode = errors.New("the code is wrong")

// proveCode checks a code of a customer's authenticator app. Wrong ones are counted
// for the customer, wherever they come from (U15): who tries them knows the password.
func (a *App) proveCode(ctx context.Context, subject, code string) error {
	byCode := codeCounter(subject)
	err := a.takeAttempts(ctx, byCode)
	if err != nil {
		return err
	}
	err = a.cfg.Factors.CheckCode(ctx, subject, code)
	if errors.Is(err, factor.ErrWrong) {
		return errWrongCode
	}
	if err != nil {
		return err
	}
	a.forgetAttempts(ctx, byCode)
	return nil
}

// typedError returns status and message for an error of what was typed, or status 0
// if it is none.
func (a *App) typedError(w http.ResponseWriter, r *http.Request, err error) (status int, message string, wait time.Duration) {
	var throttled *throttledError
	source := zap.String("source", a.source(r))
	switch {
	case errors.As(err, &throttled):
		a.cfg.Logger.Info("too many attempts", source)
		setRetryAfter(w, throttled.Wait)
		return http.StatusTooManyRequests, "error.throttled", throttled.Wait
	case errors.Is(err, errBusy):
		setRetryAfter(w, slotWait)
		return http.StatusServiceUnavailable, "error.busy", 0
	case errors.Is(err, errWrong):
		a.cfg.Logger.Info("wrong password", source)
		return http.StatusUnauthorized, "error.wrong_password", 0
	case errors.Is(err, errWrongCode):
		a.cfg.Logger.Info("wrong code", source)
		return http.StatusUnauthorized, "factor.error.code", 0
	case errors.Is(err, errNoWay):
		return http.StatusForbidden, "factor.error.way", 0
	}
	return 0, "", 0
}

// fullOf says whether an error says that this counter is full.
func fullOf(err error, c counter) bool {
	var throttled *throttledError
	return errors.As(err, &throttled) && throttled.counter == c
}
