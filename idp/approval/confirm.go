package approval

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// agreement is how a customer has shown that he means an approval.
type agreement struct {
	proof
	assertion *factor.Assertion // of a passkey; nil for other proofs
	ticket    string            // with the assertion
}

// prove makes sure that it is the customer who approves. Where what the session has
// proven is not enough, the form carries a passkey's answer or a password; where it
// carries neither yet, or a wrong one, the answer is the page that asks for it, and
// where there were too many in this session it ends the session: the way on is by
// signing in again. The proof comes after the reading: that page repeats in short
// what is approved, with the permissions as they were chosen.
func (a *App) prove(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request, chosen []string) (*agreement, bool) {
	account, ok := a.account(w, r, s)
	if !ok {
		return nil, false
	}
	if a.suffices(s, account, req) {
		return &agreement{proof: s.data.proof()}, true
	}
	response := r.PostForm.Get("response")
	if response == "" && r.PostForm.Get("password") == "" {
		// Nothing is wrong yet: this is the way to the page.
		a.renderConfirm(w, r, http.StatusOK, s, req, chosen, "", 0)
		return nil, false
	}
	var agreed *agreement
	var err error
	if response != "" {
		agreed, err = a.agree(r, s, req, chosen)
	} else {
		var p proof
		p, err = a.proveTyped(r, s, account, req)
		agreed = &agreement{proof: p}
	}
	if err == nil {
		a.remember(r.Context(), s, agreed.proof)
		return agreed, true
	}
	a.refuseProof(w, r, s, req, chosen, err)
	return nil, false
}

// agree checks that a passkey has signed exactly this approval.
func (a *App) agree(r *http.Request, s *session, req *provider.Request, chosen []string) (*agreement, error) {
	statement, _, err := a.statement(a.locale(r), s, req, chosen)
	if err != nil {
		return nil, err
	}
	ticket := r.PostForm.Get("ticket")
	assertion, err := a.cfg.Factors.Agree(r.Context(), statement, sessionBinding(s), ticket, []byte(r.PostForm.Get("response")))
	if err != nil {
		return nil, err
	}
	return &agreement{proof: a.proven(passkeyMethod(assertion.Passkey)), assertion: assertion, ticket: ticket}, nil
}

// refuseProof answers for a proof that is none.
func (a *App) refuseProof(w http.ResponseWriter, r *http.Request, s *session, req *provider.Request, chosen []string, err error) {
	if fullOf(err, sessionCounter(s.record.ID)) {
		a.endGuessing(w, r, s, a.base+"/requests/"+req.ID)
		return
	}
	status, message, wait := a.typedError(w, r, err)
	if status == 0 {
		status, message = a.passkeyError(r, err)
	}
	if status == 0 {
		a.fail(w, r, err)
		return
	}
	a.renderConfirm(w, r, status, s, req, chosen, message, wait)
}

// endGuessing signs out a browser from which too many passwords were tried, and
// leads to the sign-in page and from there back.
func (a *App) endGuessing(w http.ResponseWriter, r *http.Request, s *session, next string) {
	a.cfg.Logger.Warn("too many wrong passwords, session ended",
		zap.String("subject", s.user.ID), zap.String("source", a.source(r)))
	err := a.endSession(w, r, s)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	http.Redirect(w, r, a.signInURL(next), http.StatusSeeOther)
}

// renderConfirm renders the page that asks for a proof, in the ways that are enough
// for the request. Where there is none it says so.
func (a *App) renderConfirm(w http.ResponseWriter, r *http.Request, status int, s *session, req *provider.Request, chosen []string, message string, wait time.Duration) {
	account, ok := a.account(w, r, s)
	if !ok {
		return
	}
	open := a.ways(s.user, account, req)
	other := a.proofElsewhere(s, account, req, a.base+"/requests/"+req.ID)
	if open.none() && other == nil {
		a.refuseWeak(w, r, s, provider.ErrACR)
		return
	}
	l := a.locale(r)
	scopes := slices.DeleteFunc(slices.Clone(req.Scopes), func(scope provider.Scope) bool {
		return !slices.Contains(chosen, scope.Name)
	})
	v := a.requestView(l, s, req, scopes)
	v.UserName, v.Ways, v.Other, v.Number = s.user.Username, open, other, r.PostForm.Get("number")
	v.Error, v.Wait = message, l.duration(roundUp(wait, time.Minute))
	v.Passkey, ok = a.passkeyFor(w, r, s, open, req)
	if !ok {
		return
	}
	a.render(w, r, status, "confirm", s, v)
}

// passkeyFor returns what a page needs to have an approval signed with a passkey; nil
// if there is none that would do. It answers itself if the store fails.
func (a *App) passkeyFor(w http.ResponseWriter, r *http.Request, s *session, open ways, req *provider.Request) (*passkeyView, bool) {
	if !open.Passkey {
		return nil, true
	}
	statement, _, err := a.statement(a.locale(r), s, req, nil)
	if err != nil {
		a.fail(w, r, err)
		return nil, false
	}
	options, err := a.cfg.Factors.StatementOptions(r.Context(), statement, sessionBinding(s), func(p factor.Passkey) bool {
		return a.fits(passkeyMethod(p), req)
	})
	if err != nil {
		a.fail(w, r, err)
		return nil, false
	}
	return &passkeyView{Options: string(options.Options), Ticket: options.Ticket, Prefix: options.Prefix}, true
}

// remember notes a proof in the session. Losing the write only means that the
// next request asks again.
func (a *App) remember(ctx context.Context, s *session, p proof) {
	s.data.prove(p)
	s.data.Seen = p.At
	err := a.saveSession(ctx, s)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		a.cfg.Logger.Warn("noting a proof in the session", errField(err))
	}
}
