package page

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func render(t *testing.T, accept string, v View) (*httptest.ResponseRecorder, string) {
	t.Helper()
	p, err := New("/assets/")
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "https://bank.example/", nil)
	r.Header.Set("Accept-Language", accept)
	w := httptest.NewRecorder()
	err = p.Write(w, r, http.StatusOK, v)
	if err != nil {
		t.Fatal(err)
	}
	return w, w.Body.String()
}

var kinds = []Kind{Waiting, Approved, ApprovedAsync, Sending, Answered, Denied, Expired, Cancelled, Failed,
	InDoubt, Unavailable, Duplicate, Refused, Later, SignIn, NotFound}

// Every page has its words in every language.
func TestWords(t *testing.T) {
	title := regexp.MustCompile(`<h1>([^<]+)</h1>\s*<p class="lede">([^<]+)</p>`)
	for _, language := range languages {
		seen := make(map[string]Kind)
		for _, kind := range kinds {
			w, text := render(t, language, View{Kind: kind})
			words := title.FindStringSubmatch(text)
			if words == nil || w.Header().Get("Content-Language") != language || !strings.Contains(text, `<html lang="`+language+`">`) {
				t.Errorf("%s in %s: %v", kind, language, words)
				continue
			}
			other, twice := seen[words[0]]
			if twice && !slices.Contains([]Kind{ApprovedAsync, Approved}, kind) {
				t.Errorf("%s and %s say the same in %s", kind, other, language)
			}
			seen[words[0]] = kind
		}
	}
	for accept, want := range map[string]string{"de-AT,en;q=0.5": "de", "pt-BR": "en", "": "en", "xx;q=nope": "en", "es-MX": "es", strings.Repeat("fr,", 200): "en"} {
		w, _ := render(t, accept, View{Kind: Waiting})
		if got := w.Header().Get("Content-Language"); got != want {
			t.Errorf("%.20q: %s, want %s", accept, got, want)
		}
	}
}

// Text from outside is text, wherever it stands (threats U, CVE-2021-32792).
func TestTextIsText(t *testing.T) {
	for _, text := range []string{`</bdi><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "' onmouseover='a", "\u2028</title><svg onload=a>", "{{.Form}}"} {
		_, page := render(t, "en", View{
			Kind: Waiting, Message: text, MatchCode: text, State: text, Events: "/e", Support: text,
			Continue: "/c?" + text, Cancel: "javascript:" + text, Handle: text, Form: text, Left: time.Minute, Hold: time.Minute,
		})
		for _, bad := range []string{"<script>", "<img", "<svg onload", "onmouseover='", `action="javascript:`} {
			if strings.Contains(page, bad) {
				t.Errorf("%q: the page has %s", text, bad)
			}
		}
	}
}

// Pages load files of their own origin and nothing else, and run no inline script.
func TestPolicy(t *testing.T) {
	w, page := render(t, "en", View{Kind: Waiting, Events: "/e", Cancel: "/c", Left: 83 * time.Second, Hold: 2 * time.Minute})
	csp := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q has no %s", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(page, "style=") || strings.Contains(page, "<style") || regexp.MustCompile(`<script(?:>| [^>]*>[^<])`).MatchString(page) {
		t.Errorf("the page has something inline, or policy %q allows it", csp)
	}
	if !strings.Contains(page, "1 min 23 s left") || !strings.Contains(page, `http-equiv="refresh"`) {
		t.Errorf("page is\n%s", page)
	}
	if w.Header().Get("X-Frame-Options") != "DENY" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers are %v", w.Header())
	}
}
