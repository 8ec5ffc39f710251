package approval

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

//go:embed templates/*.html
var templateFiles embed.FS

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

// pageSet holds the templates of one language by page.
type pageSet map[string]*template.Template

// shared are the template files that every page has.
var shared = []string{"templates/layout.html", "templates/icons.html", "templates/parts.html", "templates/factor.html"}

// loadPages parses the templates once for each language, with the language's
// words bound to them.
func (a *App) loadPages() (map[string]pageSet, error) {
	sets := map[string]pageSet{}
	for _, l := range a.locales.all {
		set, err := a.loadPageSet(l)
		if err != nil {
			return nil, err
		}
		sets[l.name] = set
	}
	return sets, nil
}

func (a *App) loadPageSet(l *locale) (pageSet, error) {
	funcs := template.FuncMap{
		"t":        l.t,
		"tn":       l.tn,
		"duration": l.duration,
		"asset":    func(name string) string { return a.assets.urls[name] },
		"url":      func(parts ...string) string { return a.base + "/" + strings.Join(parts, "/") },
		"pushes":   func() bool { return a.cfg.Push != nil },
		"seconds":  func(d time.Duration) int { return int(d / time.Second) },
	}
	base, err := template.New("layout").Funcs(funcs).ParseFS(templateFiles, shared...)
	if err != nil {
		return nil, fmt.Errorf("parsing templates: %w", err)
	}
	files, err := fs.Glob(templateFiles, "templates/page_*.html")
	if err != nil {
		return nil, fmt.Errorf("listing templates: %w", err)
	}
	set := pageSet{}
	for _, file := range files {
		t, err := base.Clone()
		if err != nil {
			return nil, fmt.Errorf("copying templates: %w", err)
		}
		t, err = t.ParseFS(templateFiles, file)
		if err != nil {
			return nil, fmt.Errorf("parsing templates: %w", err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/page_"), ".html")
		set[name] = t
	}
	return set, nil
}

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
