package stepup

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Mode is how a caller waits for the customer's decision.
type Mode string

const (
	// ModeAuto chooses one of the others for each request: async for a caller that
	// asks for it (Prefer: respond-async), redirect for a browser that goes to a
	// page, hold for everybody else.
	ModeAuto Mode = "auto"

	// ModeHold keeps the caller's connection waiting and answers on it with the
	// upstream's own answer.
	ModeHold Mode = "hold"

	// ModeRedirect sends a browser to a page that waits. After the approval the
	// page has the request sent, and the upstream's answer streams to the browser.
	ModeRedirect Mode = "redirect"

	// ModeAsync answers 202 at once. After the approval the gate sends the request
	// by itself and keeps the answer for the caller.
	ModeAsync Mode = "async"
)

// Known reports whether m is one of the modes.
func (m Mode) Known() bool {
	switch m {
	case ModeAuto, ModeHold, ModeRedirect, ModeAsync:
		return true
	default:
		return false
	}
}

// detached reports whether the transaction goes on when the caller's connection
// is over.
func (m Mode) detached() bool { return m == ModeRedirect || m == ModeAsync }

// Keeps reports whether a request may go on without its caller's connection, so
// that an adapter can keep what it needs for that before anything is changed.
func (m Mode) Keeps(r *http.Request) bool {
	return m.choose(r).detached() || r.Header.Get("Idempotency-Key") != ""
}

// choose returns the mode for one request.
func (m Mode) choose(r *http.Request) Mode {
	switch {
	case m != ModeAuto && m != "":
		return m
	case preferences(r.Header).async:
		return ModeAsync
	case IsNavigation(r):
		return ModeRedirect
	default:
		return ModeHold
	}
}

// IsNavigation reports whether r comes from a browser that is going to show the
// answer as a page. What the browser itself says of the request (Sec-Fetch)
// counts first. Without that, a page must be what the caller would rather have:
// a caller that takes anything is a program.
func IsNavigation(r *http.Request) bool {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	if mode != "" || dest != "" {
		return mode == "navigate" && dest == "document"
	}
	if r.Method == http.MethodOptions || r.Header.Get("X-Requested-With") != "" {
		return false
	}
	return prefersHTML(r.Header)
}

// prefersHTML reports whether Accept names text/html itself, and weighs no JSON
// as much.
func prefersHTML(h http.Header) bool {
	html, json := 0.0, 0.0
	for _, value := range h.Values("Accept") {
		for item := range strings.SplitSeq(value, ",") {
			media, params, err := mime.ParseMediaType(item)
			if err != nil {
				continue
			}
			weight := 1.0
			if q, weighed := params["q"]; weighed {
				weight, err = strconv.ParseFloat(q, 64)
				if err != nil || !(weight >= 0 && weight <= 1) {
					continue
				}
			}
			switch media {
			case "text/html", "application/xhtml+xml":
				html = max(html, weight)
			case "application/json", "application/problem+json":
				json = max(json, weight)
			}
		}
	}
	return html > json
}

// preference is what a caller has asked for by Prefer (RFC 7240).
type preference struct {
	async  bool
	waits  bool // wait was given
	wait   time.Duration
	broken bool // wait was given and is no number of seconds
}

// preferences reads all Prefer headers. Of a preference that is given twice, the
// first one counts (RFC 7240 section 2).
func preferences(h http.Header) preference {
	var p preference
	for _, value := range h.Values("Prefer") {
		for item := range strings.SplitSeq(value, ",") {
			item, _, _ = strings.Cut(item, ";")
			name, argument, _ := strings.Cut(item, "=")
			name, argument = strings.ToLower(strings.TrimSpace(name)), strings.Trim(strings.TrimSpace(argument), `"`)
			switch {
			case name == "respond-async":
				p.async = true
			case name == "wait" && !p.waits && !p.broken:
				seconds, err := strconv.ParseUint(argument, 10, 31)
				p.waits, p.broken = err == nil, err != nil
				p.wait = time.Duration(seconds) * time.Second
			}
		}
	}
	return p
}
