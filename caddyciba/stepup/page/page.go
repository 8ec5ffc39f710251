// Package page renders what a person sees in the browser while a request waits
// for approval, and when it has come to nothing. It knows nothing of how requests
// are held.
//
// Pages work without JavaScript, load nothing from elsewhere, run no inline
// script and cannot be framed. Text from outside stands in a box of its own and
// is never a part of a sentence of ours.
package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed templates/wait.html
var templateFiles embed.FS

// Kind is what a page says.
type Kind string

// The kinds of pages.
const (
	Waiting       Kind = "waiting"
	Approved      Kind = "approved"       // and the browser has to come for the answer
	ApprovedAsync Kind = "approved_async" // and the request is sent without the browser
	Sending       Kind = "sending"
	Answered      Kind = "answered"
	Denied        Kind = "denied"
	Expired       Kind = "expired"
	Cancelled     Kind = "cancelled"
	Failed        Kind = "failed"
	InDoubt       Kind = "in_doubt"
	Unavailable   Kind = "unavailable"
	Duplicate     Kind = "duplicate"
	Refused       Kind = "refused"
	Later         Kind = "later"
	SignIn        Kind = "sign_in"
	NotFound      Kind = "not_found"
)

// tones are the kinds whose picture is not the phone that is waited for.
var tones = map[Kind]string{
	Approved: "good", ApprovedAsync: "good", Answered: "good",
	Denied: "bad", Expired: "bad", Cancelled: "bad", Failed: "bad", Unavailable: "bad", Refused: "bad",
	InDoubt: "doubt", Duplicate: "doubt", Later: "doubt", SignIn: "doubt", NotFound: "doubt",
}

// View is what a page shows. The zero value of a field leaves it out.
type View struct {
	// Kind is what the page says. Required.
	Kind Kind

	// Message is what is to be approved, and MatchCode the number to compare.
	Message   string
	MatchCode string

	// State is what the page tells its script that it shows, and Events the path of
	// the stream that says when that is something else. With Events the page is
	// live.
	State  string
	Events string

	// Left is how much time the customer has, of Hold.
	Left, Hold time.Duration

	// Continue is where the form is posted that has the approved request sent, and
	// Cancel where the one is that calls it off. Handle and Form are what they
	// carry.
	Continue, Cancel string
	Handle, Form     string

	// Link is where to go on, and LinkText the key of what it is called: show or
	// where.
	Link, LinkText string

	// Support names the transaction for people who are asked for help.
	Support string
}

// data is a View in the language of its reader.
type data struct {
	View
	Host string
	Lang string
	words
	CSS, JS string
}

// Word returns a text of the page's kind.
func (d *data) Word(key string) string { return d.words[string(d.Kind)+"."+key] }

// Text returns a text that all kinds share.
func (d *data) Text(key string) string { return d.words[key] }

// Live reports whether the page follows what it shows.
func (d *data) Live() bool { return d.View.Events != "" }

// Tone names the picture on the page.
func (d *data) Tone() string { return tones[d.Kind] }

// Left is the time that is left in whole seconds, or nothing.
func (d *data) Left() int { return int((d.View.Left + time.Second - 1) / time.Second) }

// Hold is the whole time in seconds.
func (d *data) Hold() int { return int(d.View.Hold / time.Second) }

// LeftText is the time that is left in words.
func (d *data) LeftText() string {
	minutes, seconds := d.Left()/60, d.Left()%60
	key := "left.minutes"
	if minutes == 0 {
		key = "left.seconds"
	}
	return strings.NewReplacer("{m}", strconv.Itoa(minutes), "{s}", strconv.Itoa(seconds)).Replace(d.words[key])
}

// Pages renders pages. It is safe for concurrent use.
type Pages struct {
	template *template.Template
	locales  *locales
	assets   map[string]*asset
	css, js  string
}

// New reads the embedded templates, words and assets. The assets are found below
// the path prefix.
func New(prefix string) (*Pages, error) {
	t, err := template.ParseFS(templateFiles, "templates/wait.html")
	if err != nil {
		return nil, fmt.Errorf("reading templates: %w", err)
	}
	p := &Pages{template: t, assets: make(map[string]*asset)}
	p.locales, err = loadLocales()
	if err != nil {
		return nil, err
	}
	p.css, err = p.loadAsset(prefix, "wait.css", "text/css; charset=utf-8")
	if err != nil {
		return nil, err
	}
	p.js, err = p.loadAsset(prefix, "wait.js", "text/javascript; charset=utf-8")
	if err != nil {
		return nil, err
	}
	return p, nil
}

// policy allows files of this origin and nothing else. Forms may go to this
// origin; the one that has the request sent may in the end lead anywhere, since
// browsers hold form-action against the redirects of its answer, too, and that is
// the upstream's.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Write answers with a page in the language that r asks for. Headers that belong
// to the answer for other reasons are set before.
func (p *Pages) Write(w http.ResponseWriter, r *http.Request, status int, v View) error {
	l := p.locales.choose(r)
	var out bytes.Buffer
	err := p.template.Execute(&out, &data{View: v, Host: r.Host, Lang: l.name, words: l.words, CSS: p.css, JS: p.js})
	if err != nil {
		return fmt.Errorf("rendering page: %w", err)
	}
	h := w.Header()
	csp := policy
	if v.Continue == "" {
		csp += "; form-action 'self'"
	}
	h.Set("Content-Security-Policy", csp)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// Under no-referrer, browsers say "Origin: null" with our own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", l.name)
	h.Add("Vary", "Accept, Accept-Language, Sec-Fetch-Dest, Sec-Fetch-Mode")
	h.Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, _ = w.Write(out.Bytes()) // a connection that is gone is the server's affair
	return nil
}
