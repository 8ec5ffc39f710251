package approval

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// passkeyView is what a form needs to have a passkey used or made.
type passkeyView struct {
	Options string // JSON
	Ticket  string // of a statement
	Prefix  string // what is hashed with the choice, for a statement
}

// passkeyErrors are the statuses and messages for what became of a passkey.
var passkeyErrors = []struct {
	err     error
	status  int
	message string
}{
	{factor.ErrStale, http.StatusUnauthorized, "error.form"},
	{factor.ErrCloned, http.StatusUnauthorized, "factor.error.cloned"},
	{factor.ErrChanged, http.StatusUnauthorized, "factor.error.changed"},
	{factor.ErrWrong, http.StatusUnauthorized, "factor.error.passkey"},
	{factor.ErrMalformed, http.StatusBadRequest, "factor.error.passkey"},
	{factor.ErrTaken, http.StatusConflict, "factor.error.taken"},
	{factor.ErrFull, http.StatusConflict, "factor.error.full"},
	{factor.ErrNoPasskeys, http.StatusBadRequest, "factor.error.passkey"},
}

// passkeyError returns status and message for an error of a passkey, or status 0 if
// it is none and the store has failed.
func (a *App) passkeyError(r *http.Request, err error) (status int, message string) {
	for _, known := range passkeyErrors {
		if !errors.Is(err, known.err) {
			continue
		}
		// What the library says names the step that failed, and nothing secret.
		a.cfg.Logger.Info("passkey refused", zap.String("source", a.source(r)), errField(err))
		if known.err == factor.ErrCloned {
			a.cfg.Logger.Warn("a passkey may have been copied and is blocked", zap.String("source", a.source(r)))
		}
		return known.status, known.message
	}
	return 0, ""
}

// signInPasskey answers POST /sign-in/passkey. No counter stands in the way: there is
// nothing to be guessed, and who is being attacked by password can still get in (U13).
func (a *App) signInPasskey(w http.ResponseWriter, r *http.Request, _ match) {
	if !a.parseForm(w, r) {
		return
	}
	again := signInView{Next: a.safeNext(r.PostForm.Get("next"))}
	secret, ok := a.cookieSecret(r, "form")
	if !ok || checkFormToken(r, secret, signInPurpose) != nil {
		a.cfg.Logger.Info("sign-in form refused", zap.String("source", a.source(r)))
		again.Error = "error.form"
		a.renderSignIn(w, r, http.StatusForbidden, again)
		return
	}
	user, p, err := a.provePasskey(r, browserBinding(secret))
	if err == nil {
		a.admit(w, r, user, p, again.Next)
		return
	}
	status, message := a.passkeyError(r, err)
	if status == 0 {
		a.fail(w, r, err)
		return
	}
	again.Error = message
	a.renderSignIn(w, r, status, again)
}

// provePasskey checks the passkey of a posted form and returns its user.
func (a *App) provePasskey(r *http.Request, binding factor.Binding) (*provider.User, proof, error) {
	assertion, err := a.cfg.Factors.SignIn(r.Context(), binding, []byte(r.PostForm.Get("response")))
	if err != nil {
		return nil, proof{}, err
	}
	user, err := a.cfg.Users.BySubject(r.Context(), assertion.Subject)
	if isUnknownUser(user, err) || err == nil && user.Disabled {
		return nil, proof{}, factor.ErrWrong
	}
	if err != nil {
		return nil, proof{}, err
	}
	return user, a.proven(passkeyMethod(assertion.Passkey)), nil
}
