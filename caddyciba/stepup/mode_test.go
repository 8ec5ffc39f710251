package stepup

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// How a caller waits depends on what it asks for and what it is (design 3.4,
// gateways.md 4.3).
func TestModeChoice(t *testing.T) {
	const page = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	cases := []struct {
		name   string
		mode   Mode
		method string
		header http.Header
		want   Mode
	}{
		{name: "nothing", want: ModeHold},
		{name: "curl", header: http.Header{"Accept": {"*/*"}}, want: ModeHold},
		{name: "JSON", header: http.Header{"Accept": {"application/json"}}, want: ModeHold},
		{name: "old browser", header: http.Header{"Accept": {page}}, want: ModeRedirect},
		{name: "rather JSON", header: http.Header{"Accept": {"text/html;q=0.5, application/json"}}, want: ModeHold},
		{name: "as well JSON", header: http.Header{"Accept": {"text/html, application/json"}}, want: ModeHold},
		{name: "rather a page", header: http.Header{"Accept": {"application/json;q=0.3", "text/html;q=0.4"}}, want: ModeRedirect},
		{name: "page not wanted", header: http.Header{"Accept": {"text/html;q=0"}}, want: ModeHold},
		{name: "weight beyond one", header: http.Header{"Accept": {"text/html;q=7"}}, want: ModeHold},
		{name: "weight not a number", header: http.Header{"Accept": {"text/html;q=NaN"}}, want: ModeHold},
		{name: "script", header: http.Header{"Accept": {page}, "X-Requested-With": {"XMLHttpRequest"}}, want: ModeHold},
		{name: "preflight", method: "OPTIONS", header: http.Header{"Accept": {page}}, want: ModeHold},
		{name: "navigation", header: http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}, want: ModeRedirect},
		{name: "frame", header: http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"iframe"}, "Accept": {page}}, want: ModeHold},
		{name: "fetch", header: http.Header{"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Accept": {page}}, want: ModeHold},
		{name: "async", header: http.Header{"Prefer": {"respond-async"}}, want: ModeAsync},
		{name: "async, another case, with parameter", header: http.Header{"Prefer": {"wait=5, Respond-Async; foo=bar"}}, want: ModeAsync},
		{name: "async in a second header", header: http.Header{"Prefer": {"return=minimal", "respond-async"}}, want: ModeAsync},
		{name: "async before a page", header: http.Header{"Prefer": {"respond-async"}, "Accept": {page}}, want: ModeAsync},
		{name: "wait alone", header: http.Header{"Prefer": {"wait=5"}}, want: ModeHold},
		{name: "forced hold", mode: ModeHold, header: http.Header{"Prefer": {"respond-async"}}, want: ModeHold},
		{name: "forced redirect", mode: ModeRedirect, want: ModeRedirect},
		{name: "forced async", mode: ModeAsync, header: http.Header{"Accept": {page}}, want: ModeAsync},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = "POST"
			}
			r := httptest.NewRequest(c.method, "/", nil)
			r.Header = c.header
			if r.Header == nil {
				r.Header = http.Header{}
			}
			mode := c.mode
			if mode == "" {
				mode = ModeAuto
			}
			if got := mode.choose(r); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// RFC 7240 section 2: the first of two counts; section 4.3: seconds (threats S07).
func TestPreferences(t *testing.T) {
	cases := map[string]preference{
		"":                              {},
		"wait=5":                        {waits: true, wait: 5 * time.Second},
		`wait="5"`:                      {waits: true, wait: 5 * time.Second},
		"wait = 5":                      {waits: true, wait: 5 * time.Second},
		"wait=5, wait=9":                {waits: true, wait: 5 * time.Second},
		"wait=-1":                       {broken: true},
		"wait=1e3":                      {broken: true},
		"wait=99999999999999999999":     {broken: true},
		"wait":                          {broken: true},
		"respond-async, wait=0":         {async: true, waits: true},
		"RESPOND-ASYNC;x=1;y, handling": {async: true},
		"respond-asynchronously":        {},
	}
	for text, want := range cases {
		got := preferences(http.Header{"Prefer": {text}})
		if !got.waits {
			got.wait = 0
		}
		if got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}
