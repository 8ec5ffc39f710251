package approval

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Reasons for refusals that are not a matter of forms.
var (
	errNotOurs   = errors.New("no such page")
	errWrongHost = errors.New("request for another host")
	errMethod    = errors.New("method not allowed")
	errFormSize  = errors.New("form too large")
	errFormRead  = errors.New("form cannot be read")
	errChoice    = errors.New("form with a choice that was not offered")
)

// maxForm bounds a posted form, in bytes.
const maxForm = 16 << 10

// formTime is how long a posted form may take to come.
const formTime = 10 * time.Second

// problemView is what the page for an error shows: what the person can do, and
// in small print a code for support.
type problemView struct {
	Title string // key of a message
	Text  string // key of a message
	Code  string
	Home  string // address of our own public start page, for a wrong host
	Weak  bool   // a stronger proof is needed, which can be set up
}

// problems are the messages for each status that the app answers by itself.
var problems = map[int]string{
	http.StatusBadRequest:            "form",
	http.StatusUnauthorized:          "form",
	http.StatusForbidden:             "form",
	http.StatusNotFound:              "gone",
	http.StatusMethodNotAllowed:      "form",
	http.StatusRequestEntityTooLarge: "form",
	http.StatusUnsupportedMediaType:  "form",
	http.StatusMisdirectedRequest:    "host",
	http.StatusTooManyRequests:       "busy",
	http.StatusServiceUnavailable:    "down",
}

// refuse is the one place where an answer that is an error becomes a page. The
// cause goes to the log, never to the page.
func (a *App) refuse(w http.ResponseWriter, r *http.Request, s *session, status int, cause error) {
	level := zapcore.InfoLevel
	if status >= 500 {
		level = zapcore.ErrorLevel
	}
	a.cfg.Logger.Log(level, "refused", zap.Int("status", status), zap.String("method", r.Method), errField(cause))
	kind, ok := problems[status]
	if !ok {
		kind = "down"
	}
	v := problemView{
		Title: "problem." + kind + ".title",
		Text:  "problem." + kind + ".text",
		Code:  strconv.Itoa(status),
	}
	if status == http.StatusMisdirectedRequest {
		v.Home = a.origin + a.base + "/"
	}
	a.render(w, r, status, "problem", s, v)
}

// refuseWeak answers for a request that demands more than a password.
func (a *App) refuseWeak(w http.ResponseWriter, r *http.Request, s *session, cause error) {
	a.cfg.Logger.Info("refused", zap.Int("status", http.StatusForbidden), errField(cause))
	a.render(w, r, http.StatusForbidden, "problem", s, problemView{
		Title: "problem.weak.title", Text: "problem.weak.text", Code: "403-proof", Weak: true,
	})
}

// fail answers for an error that is ours: the store or the provider could not
// do its work. Nothing was decided.
func (a *App) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		// The browser has left; nobody reads the answer.
		return
	}
	w.Header().Set("Retry-After", "5")
	a.refuse(w, r, nil, http.StatusServiceUnavailable, err)
}

// parseForm reads a posted form and answers itself when it cannot. A form that comes
// byte by byte does not hold a connection for long: the deadline stays when it fails.
func (a *App) parseForm(w http.ResponseWriter, r *http.Request) bool {
	control := http.NewResponseController(w)
	err := control.SetReadDeadline(time.Now().Add(formTime))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		a.fail(w, r, err)
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err = r.ParseForm()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		a.refuse(w, r, nil, http.StatusRequestEntityTooLarge, errFormSize)
		return false
	case err != nil:
		a.refuse(w, r, nil, http.StatusBadRequest, errFormRead)
		return false
	}
	err = control.SetReadDeadline(time.Time{})
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		a.fail(w, r, err)
		return false
	}
	return true
}

// errField is the log field of a cause. Causes never contain what a customer
// typed; see the errors of this package.
func errField(err error) zap.Field { return zap.Error(err) }
