package approval

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// enrollView is what the page shows to whom an enrollment link was given: first the
// field for its code, which the script fills from the link's fragment, and then what
// is needed to add a passkey.
type enrollView struct {
	Token    string
	Opened   bool
	Name     Text
	Add      *passkeyView
	Possible bool // whether there can be passkeys here
	Device   string
	Error    string // key of a message, or empty
}

const (
	enrollPurpose = "enroll"

	// enrollPath is the path of enrollment links below the base path. The token
	// stands behind it as fragment, which browsers send to nobody and which no log
	// sees.
	enrollPath = "/enroll"
)

// EnrollURL returns the address of an enrollment link for a token of
// [factor.Vault.NewLink].
func (a *App) EnrollURL(token string) string { return a.origin + a.base + enrollPath + "#" + token }

// showEnroll answers GET /enroll.
func (a *App) showEnroll(w http.ResponseWriter, r *http.Request, _ match) {
	a.renderEnroll(w, r, http.StatusOK, "")
}

// openLink opens the link whose token is in the browser's cookie. It returns
// factor.ErrWrong if there is none, or one that is not good any more.
func (a *App) openLink(r *http.Request, browser []byte) (*factor.OpenLink, *provider.User, error) {
	token, ok := a.cookieSecret(r, "enroll")
	if !ok {
		return nil, nil, factor.ErrWrong
	}
	link, err := a.cfg.Factors.OpenLink(r.Context(), base64.RawURLEncoding.EncodeToString(token), browser)
	if err != nil {
		return nil, nil, err
	}
	user, err := a.cfg.Users.BySubject(r.Context(), link.Subject)
	if isUnknownUser(user, err) || err == nil && user.Disabled {
		return nil, nil, factor.ErrWrong
	}
	return link, user, err
}

func (a *App) renderEnroll(w http.ResponseWriter, r *http.Request, status int, message string) {
	browser, ok := a.formSecret(w, r)
	if !ok {
		return
	}
	v := enrollView{
		Token: formToken(browser, enrollPurpose), Error: message,
		Possible: a.cfg.Factors.HasPasskeys(), Device: device(r.UserAgent()),
	}
	_, user, err := a.openLink(r, browser)
	if err == nil {
		v.Opened, v.Name = true, newText(displayName(user))
		if v.Possible {
			var options []byte
			options, err = a.cfg.Factors.RegistrationOptions(r.Context(), user, browserBinding(browser))
			v.Add = &passkeyView{Options: string(options)}
		}
	}
	if err != nil && !errors.Is(err, factor.ErrWrong) {
		a.fail(w, r, err)
		return
	}
	a.render(w, r, status, "enroll", nil, v)
}

// enroll answers POST /enroll: with the code of a link, or with a new passkey.
func (a *App) enroll(w http.ResponseWriter, r *http.Request, _ match) {
	if !a.parseForm(w, r) {
		return
	}
	browser, ok := a.cookieSecret(r, "form")
	if !ok || checkFormToken(r, browser, enrollPurpose) != nil {
		a.renderEnroll(w, r, http.StatusForbidden, "error.form")
		return
	}
	if r.PostForm.Has("response") {
		a.enrollPasskey(w, r, browser)
		return
	}
	// People paste more than the code.
	_, code, found := strings.Cut(r.PostForm.Get("code"), "#")
	if !found {
		code = r.PostForm.Get("code")
	}
	code = strings.TrimSpace(code)
	_, err := a.cfg.Factors.OpenLink(r.Context(), code, browser)
	if errors.Is(err, factor.ErrWrong) {
		a.cfg.Logger.Info("enrollment link refused", zap.String("source", a.source(r)))
		a.renderEnroll(w, r, http.StatusUnauthorized, "factor.error.link")
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	token, err := base64.RawURLEncoding.DecodeString(code)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.setCookie(w, "enroll", token)
	http.Redirect(w, r, a.base+enrollPath, http.StatusSeeOther)
}

// enrollPasskey adds the passkey and uses the link up, by one write. The customer is
// signed in then, and gets recovery codes.
func (a *App) enrollPasskey(w http.ResponseWriter, r *http.Request, browser []byte) {
	link, user, err := a.openLink(r, browser)
	var added *factor.Passkey
	if err == nil {
		name := device(r.UserAgent())
		added, err = a.cfg.Factors.Register(r.Context(), user.ID, browserBinding(browser), []byte(r.PostForm.Get("response")), name, link)
	}
	if err != nil {
		status, message := a.passkeyError(r, err)
		switch {
		case status == 0:
			a.fail(w, r, err)
			return
		case errors.Is(err, factor.ErrWrong):
			message = "factor.error.link"
		}
		a.renderEnroll(w, r, status, message)
		return
	}
	a.changed(r, ChangePasskeyEnrolled, user.ID, zap.String("passkey", added.ID))
	a.clearCookie(w, "enroll")
	s, err := a.startSession(w, r, user, a.proven(methodEnrollment))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.renderNewCodes(w, r, s, a.base+"/")
}
