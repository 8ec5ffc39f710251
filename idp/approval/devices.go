package approval

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval/factor"
)

// devicesView is what the page shows on which customers look after what they prove
// with and where they are signed in.
type devicesView struct {
	Token     string
	Fresh     bool // whether the customer may change something now
	Prove     string
	Passkeys  []passkeyRow
	Add       *passkeyView // to add a passkey
	Possible  bool         // whether there can be passkeys here
	Suggested string       // name for a new passkey
	Password  bool         // whether the customer has one, to which codes belong
	TOTP      *totpRow
	Recovery  int
	Sessions  []sessionRow
	Error     string // key of a message, or empty
}

// passkeyRow is one passkey.
type passkeyRow struct {
	ID      string
	Name    Text
	Added   moment
	Used    *moment
	Synced  bool
	Blocked bool
}

// totpRow is the authenticator app.
type totpRow struct {
	Added moment
	Used  *moment
}

const devicesPurpose = "devices"

// deviceActions are what the forms of the page do. All but those about sessions need
// a fresh proof.
var deviceActions = map[string]struct {
	do    func(a *App, r *http.Request, s *session, account *factor.Account) error
	fresh bool
}{
	"add-passkey":    {(*App).addPasskey, true},
	"remove-passkey": {(*App).removePasskey, true},
	"remove-totp":    {(*App).removeTOTP, true},
	"end-session":    {(*App).endOtherSession, false},
	"end-others":     {(*App).endOtherSessions, false},
}

// errLast says that it is the only thing with which the customer can sign in.
var errLast = errors.New("the customer could not sign in any more")

// showDevices answers GET /devices.
func (a *App) showDevices(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	a.renderDevices(w, r, http.StatusOK, s, "")
}

func (a *App) renderDevices(w http.ResponseWriter, r *http.Request, status int, s *session, message string) {
	account, ok := a.account(w, r, s)
	if !ok {
		return
	}
	l, now := a.locale(r), a.cfg.Now()
	v := devicesView{
		Token: formToken(s.secret, devicesPurpose), Fresh: a.fresh(s, account), Prove: a.proveURL(a.base + "/devices"),
		Possible: a.cfg.Factors.HasPasskeys(), Suggested: device(r.UserAgent()),
		Password: s.user.PasswordHash != "", Recovery: account.RecoveryCodes, Error: message,
	}
	at := func(t time.Time) *moment {
		if t.IsZero() {
			return nil
		}
		m := l.moment(t, now, a.cfg.Location)
		return &m
	}
	for _, p := range account.Passkeys {
		v.Passkeys = append(v.Passkeys, passkeyRow{
			ID: p.ID, Name: newText(p.Name), Added: *at(p.Added), Used: at(p.Used), Synced: p.Synced, Blocked: p.Blocked,
		})
	}
	if account.TOTP != nil {
		v.TOTP = &totpRow{Added: *at(account.TOTP.Added), Used: at(account.TOTP.Used)}
	}
	var err error
	v.Sessions, err = a.sessionRows(r.Context(), l, s)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if v.Fresh && v.Possible {
		v.Add, err = a.registration(r, s)
		if err != nil && !errors.Is(err, factor.ErrFull) {
			a.fail(w, r, err)
			return
		}
	}
	a.render(w, r, status, "devices", s, v)
}

// registration returns what the page needs to make a passkey.
func (a *App) registration(r *http.Request, s *session) (*passkeyView, error) {
	options, err := a.cfg.Factors.RegistrationOptions(r.Context(), s.user, sessionBinding(s))
	if err != nil {
		return nil, err
	}
	return &passkeyView{Options: string(options)}, nil
}

// changeDevices answers POST /devices.
func (a *App) changeDevices(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.postedBy(w, r, devicesPurpose)
	if !ok {
		return
	}
	action, ok := deviceActions[r.PostForm.Get("action")]
	if !ok {
		a.refuse(w, r, s, http.StatusBadRequest, errChoice)
		return
	}
	account, ok := a.account(w, r, s)
	if !ok {
		return
	}
	if action.fresh && !a.fresh(s, account) {
		a.renderProve(w, r, http.StatusUnauthorized, s, proveView{Next: a.base + "/devices", Error: "factor.error.fresh"})
		return
	}
	err := action.do(a, r, s, account)
	switch {
	case err == nil:
		http.Redirect(w, r, a.base+"/devices", http.StatusSeeOther)
		return
	case errors.Is(err, factor.ErrNotFound):
		// It is gone already, which is what was wanted.
		http.Redirect(w, r, a.base+"/devices", http.StatusSeeOther)
		return
	case errors.Is(err, errLast):
		a.renderDevices(w, r, http.StatusConflict, s, "factor.error.last")
		return
	}
	status, message := a.passkeyError(r, err)
	if status == 0 {
		a.fail(w, r, err)
		return
	}
	a.renderDevices(w, r, status, s, message)
}

func (a *App) addPasskey(r *http.Request, s *session, _ *factor.Account) error {
	name := r.PostForm.Get("name")
	if name == "" {
		name = device(r.UserAgent())
	}
	added, err := a.cfg.Factors.Register(r.Context(), s.user.ID, sessionBinding(s), []byte(r.PostForm.Get("response")), name, nil)
	if err != nil {
		return err
	}
	a.changed(r, ChangePasskeyAdded, s.user.ID, zap.String("passkey", added.ID))
	return nil
}

func (a *App) removePasskey(r *http.Request, s *session, account *factor.Account) error {
	id := r.PostForm.Get("id")
	others := 0
	for _, p := range account.Passkeys {
		if p.ID != id && !p.Blocked {
			others++
		}
	}
	if others == 0 && s.user.PasswordHash == "" {
		return errLast
	}
	err := a.cfg.Factors.RemovePasskey(r.Context(), s.user.ID, id)
	if err != nil {
		return err
	}
	a.changed(r, ChangePasskeyRemoved, s.user.ID, zap.String("passkey", id))
	return nil
}

func (a *App) removeTOTP(r *http.Request, s *session, _ *factor.Account) error {
	err := a.cfg.Factors.RemoveTOTP(r.Context(), s.user.ID)
	if err != nil {
		return err
	}
	a.changed(r, ChangeTOTPRemoved, s.user.ID)
	return nil
}
