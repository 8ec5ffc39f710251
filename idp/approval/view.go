package approval

import (
	"bytes"
	"net/http"
	"strconv"

	"go.uber.org/zap"
)

// page is what the layout gets. Data is the page's own.
type page struct {
	Name    string // of the template, for style
	Lang    string
	Brand   string
	User    string // name of the signed-in customer, or empty
	SignOut string // token of the sign-out form
	Refresh *refresh
	Data    any
}

// refresh tells browsers without JavaScript when to load a page again.
type refresh struct {
	Seconds int
	URL     string
}

// refresher is a page's data that wants to be loaded again.
type refresher interface{ refresh() *refresh }

// render writes a page. It is written to memory first: a page comes whole or
// not at all.
func (a *App) render(w http.ResponseWriter, r *http.Request, status int, name string, s *session, data any) {
	l := a.locale(r)
	body, err := a.renderBytes(l, name, s, data)
	if err != nil {
		a.cfg.Logger.Error("rendering a page", zap.String("page", name), errField(err))
		http.Error(w, l.word("problem.down.title"), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", l.name)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Add("Vary", "Accept-Language, Cookie")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	// The browser that leaves in the middle is no error of ours.
	_, _ = w.Write(body)
}

// renderBytes makes a page in a language.
func (a *App) renderBytes(l *locale, name string, s *session, data any) ([]byte, error) {
	p := page{Name: name, Lang: l.name, Brand: a.cfg.Brand.Name, Data: data}
	if s != nil {
		p.User = newText(displayName(s.user)).Value
		p.SignOut = formToken(s.secret, signOutPurpose)
	}
	refreshing, ok := data.(refresher)
	if ok {
		p.Refresh = refreshing.refresh()
	}
	var b bytes.Buffer
	err := a.pages[l.name][name].ExecuteTemplate(&b, "layout", p)
	if err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
