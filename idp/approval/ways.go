package approval

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// freshProof is how old a proof may be for changing what one proves with.
const freshProof = 10 * time.Minute

// ways are the ways in which a customer can prove who he is, as far as they are
// enough for what is at hand.
type ways struct {
	Passkey  bool
	Password bool
	Code     bool // the password needs a code of the authenticator app beside it
}

// none says that there is no way.
func (w ways) none() bool { return !w.Passkey && !w.Password }

// ways returns how a customer can prove himself for a request, or for anything else
// if it is nil. Whoever has more than a password can't do with the password alone: a
// thief would simply choose the weaker way.
func (a *App) ways(user *provider.User, account *factor.Account, req *provider.Request) ways {
	w := ways{
		Passkey: a.cfg.Factors.HasPasskeys() && slices.ContainsFunc(account.Passkeys, func(p factor.Passkey) bool {
			return !p.Blocked && a.fits(passkeyMethod(p), req)
		}),
		Code: account.TOTP != nil,
	}
	typed := methodPassword
	if w.Code {
		typed = methodPasswordOTP
	}
	w.Password = user.PasswordHash != "" && (w.Code || !account.Strong()) && a.fits(typed, req)
	return w
}

// fits says whether a way is strong enough for a request.
func (a *App) fits(m method, req *provider.Request) bool {
	if req == nil {
		return true
	}
	_, ok := a.acr(proof{Method: m}, req)
	return ok
}

// suffices says whether what the customer proved at sign-in is enough to approve a
// request without another proof. Whoever has a passkey signs each approval with it,
// unless the operator has lifted that for the client.
func (a *App) suffices(s *session, account *factor.Account, req *provider.Request) bool {
	p := s.data.proof()
	_, enough := a.acr(p, req)
	switch {
	case !enough, !p.Method.approves():
		return false
	case p.At.Before(req.CreatedAt.Add(-a.cfg.ProofAge)):
		return false
	case !p.Method.strong() && account.Strong():
		return false
	}
	signs := a.cfg.Factors.HasPasskeys() && account.CanUsePasskey()
	return !signs || req.Client.SessionApproval
}

// fresh says whether the customer has proven himself recently, and well enough to
// change what he proves with.
func (a *App) fresh(s *session, account *factor.Account) bool {
	p := s.data.proof()
	if a.cfg.Now().Sub(p.At) > freshProof {
		return false
	}
	return p.Method.strong() || !account.Strong()
}

// account reads what the customer of a session can prove with, or answers itself.
func (a *App) account(w http.ResponseWriter, r *http.Request, s *session) (*factor.Account, bool) {
	account, err := a.cfg.Factors.Account(r.Context(), s.user.ID)
	if err != nil {
		a.fail(w, r, err)
		return nil, false
	}
	return account, true
}

// sessionBinding ties a ticket to a session, browserBinding to a browser in which
// nobody is signed in.
func sessionBinding(s *session) factor.Binding { return factor.Binding{"session", s.record.ID} }

func browserBinding(secret []byte) factor.Binding {
	return factor.Binding{"browser", sessionRecordID(secret)}
}
