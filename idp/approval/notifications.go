package approval

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval/webpush"
)

// notificationsView is what the page shows on which customers look after the devices
// that are told when something waits.
type notificationsView struct {
	Key     string // with which the browser subscribes
	Token   string
	Devices []notifiedDevice
	Error   string // key of a message, or empty
}

// notifiedDevice is a browser that is told.
type notifiedDevice struct {
	ID    string
	Name  string
	Since moment
}

// notificationsPurpose is what the tokens of the page's forms are bound to.
const notificationsPurpose = "notifications"

// showNotifications answers GET /notifications.
func (a *App) showNotifications(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok {
		return
	}
	a.renderNotifications(w, r, http.StatusOK, s, "")
}

func (a *App) renderNotifications(w http.ResponseWriter, r *http.Request, status int, s *session, message string) {
	if a.cfg.Push == nil {
		a.refuse(w, r, s, http.StatusNotFound, errNoPush)
		return
	}
	key, err := a.cfg.Push.PublicKey(r.Context())
	if err != nil {
		a.fail(w, r, err)
		return
	}
	devices, err := a.cfg.Push.Devices(r.Context(), s.user.ID)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	v := notificationsView{Key: key, Token: formToken(s.secret, notificationsPurpose), Error: message}
	l, now := a.locale(r), a.cfg.Now()
	for _, d := range devices {
		v.Devices = append(v.Devices, notifiedDevice{ID: d.ID, Name: d.Label, Since: l.moment(d.Created, now, a.cfg.Location)})
	}
	a.render(w, r, status, "notifications", s, v)
}

// errNoPush says that the operator has no push messages.
var errNoPush = errors.New("push messages are not configured")

// changeNotifications answers POST /notifications: a browser subscribes, or one is
// told no longer.
func (a *App) changeNotifications(w http.ResponseWriter, r *http.Request, _ match) {
	s, ok := a.signedIn(w, r)
	if !ok || !a.parseForm(w, r) {
		return
	}
	err := checkFormToken(r, s.secret, notificationsPurpose)
	if err != nil {
		a.refuse(w, r, s, http.StatusForbidden, err)
		return
	}
	if a.cfg.Push == nil {
		a.refuse(w, r, s, http.StatusNotFound, errNoPush)
		return
	}
	switch r.PostForm.Get("action") {
	case "subscribe":
		err = a.subscribe(r, s)
	case "remove":
		err = a.cfg.Push.Remove(r.Context(), s.user.ID, r.PostForm.Get("id"))
	default:
		a.refuse(w, r, s, http.StatusBadRequest, errChoice)
		return
	}
	switch {
	case errors.Is(err, webpush.ErrSubscription):
		a.cfg.Logger.Info("subscription refused", zap.String("subject", s.user.ID), errField(err))
		a.renderNotifications(w, r, http.StatusUnprocessableEntity, s, "notify.failed")
	case err != nil:
		a.fail(w, r, err)
	default:
		http.Redirect(w, r, a.base+"/notifications", http.StatusSeeOther)
	}
}

// subscribe keeps the subscription of the browser.
func (a *App) subscribe(r *http.Request, s *session) error {
	sub, err := webpush.ParseSubscription(r.PostForm.Get("endpoint"), r.PostForm.Get("p256dh"), r.PostForm.Get("auth"))
	if err != nil {
		return err
	}
	err = a.cfg.Push.Subscribe(r.Context(), s.user.ID, sub, device(r.UserAgent()))
	if err != nil {
		return err
	}
	a.cfg.Logger.Info("notifications switched on", zap.String("subject", s.user.ID), zap.String("source", a.source(r)))
	return nil
}

// offersPush says whether the list should offer to switch notifications on: nobody
// would tell the customer otherwise. A store that cannot say now offers nothing.
func (a *App) offersPush(r *http.Request, s *session) bool {
	if a.cfg.Push == nil {
		return false
	}
	devices, err := a.cfg.Push.Devices(r.Context(), s.user.ID)
	if err != nil {
		a.cfg.Logger.Warn("reading subscriptions", errField(err))
		return false
	}
	return len(devices) == 0
}
