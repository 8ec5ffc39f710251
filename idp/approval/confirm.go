package approval

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// needsProof says whether an approval asks for the password.
func (a *App) needsProof(s *session, req *provider.Request) bool {
	return s.data.AuthTime.Before(req.CreatedAt.Add(-a.cfg.ProofAge))
}

// prove checks the password that came with an approval. Where there is none yet, or
// a wrong one, it answers with the page that asks for it, and where there were too
// many in this session it ends the session: the way on is by signing in again. The proof comes after the reading: that page
// repeats in short what is approved, with the permissions as they were chosen.
func (a *App) prove(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request, chosen []string) bool {
	password := r.PostForm.Get("password")
	if password == "" {
		// Nothing is wrong yet: this is the way to the page.
		a.renderConfirm(w, r, http.StatusOK, s, req, chosen, "", 0)
		return false
	}
	err := a.proveAgain(r.Context(), a.source(r), s, password)
	var throttled *throttledError
	switch {
	case err == nil:
		a.remember(r.Context(), s)
		return true
	case errors.As(err, &throttled) && throttled.counter == sessionCounter(s.record.ID):
		a.endGuessing(w, r, s, req)
	case errors.As(err, &throttled):
		setRetryAfter(w, throttled.Wait)
		a.renderConfirm(w, r, http.StatusTooManyRequests, s, req, chosen, "error.throttled", throttled.Wait)
	case errors.Is(err, errBusy):
		setRetryAfter(w, slotWait)
		a.renderConfirm(w, r, http.StatusServiceUnavailable, s, req, chosen, "error.busy", 0)
	case errors.Is(err, errWrong):
		a.cfg.Logger.Info("wrong password at approval", zap.String("subject", s.user.ID), zap.String("source", a.source(r)))
		a.renderConfirm(w, r, http.StatusUnauthorized, s, req, chosen, "error.wrong_password", 0)
	default:
		a.fail(w, r, err)
	}
	return false
}

// endGuessing signs out a browser from which too many passwords were tried, and
// leads to the sign-in page and from there back to the request.
func (a *App) endGuessing(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request) {
	a.cfg.Logger.Warn("too many wrong passwords at approval, session ended",
		zap.String("subject", s.user.ID), zap.String("source", a.source(r)))
	err := a.endSession(w, r, s)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	http.Redirect(w, r, a.signInURL(a.base+"/requests/"+req.ID), http.StatusSeeOther)
}

// renderConfirm renders the page that asks for the password.
func (a *App) renderConfirm(w http.ResponseWriter, r *http.Request, status int, s *session, req *provider.Request, chosen []string, message string, wait time.Duration) {
	l := a.locale(r)
	scopes := slices.DeleteFunc(slices.Clone(req.Scopes), func(scope provider.Scope) bool {
		return !slices.Contains(chosen, scope.Name)
	})
	v := a.requestView(l, s, req, scopes)
	v.UserName, v.Number = s.user.Username, r.PostForm.Get("number")
	v.Error, v.Wait = message, l.duration(roundUp(wait, time.Minute))
	a.render(w, r, status, "confirm", s, v)
}

// remember notes a proof in the session. Losing the write only means that the
// next request asks again.
func (a *App) remember(ctx context.Context, s *session) {
	now := a.cfg.Now()
	s.data.AuthTime, s.data.Seen, s.data.AMR = now, now, []string{"pwd"}
	err := a.saveSession(ctx, s)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		a.cfg.Logger.Warn("noting a proof in the session", errField(err))
	}
}
