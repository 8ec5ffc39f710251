package approval

import (
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// T18, U10: the protective headers are on every answer, good or bad.
func TestHeaders(t *testing.T) {
	g := newRig(t)
	_, id := g.ask("alice", "")
	b := g.signedIn("alice")
	answers := map[string]*httptest.ResponseRecorder{
		"list":        b.get("/"),
		"head":        b.do("HEAD", "/", nil),
		"request":     b.get("/requests/" + id),
		"no session":  g.browser().get("/"),
		"sign-in":     g.browser().get("/sign-in"),
		"wrong":       g.browser().signIn("alice", "x"),
		"not found":   b.get("/requests/none"),
		"not ours":    b.get("/elsewhere"),
		"bad method":  b.do("PUT", "/", nil),
		"bad token":   b.post("/requests/"+id+"/decision", nil),
		"decision":    b.decide(id, "approve"),
		"css":         b.get(g.app.assets.urls["app.css"]),
		"no asset":    b.get("/assets/app.css"),
		"wrong host":  otherHost(g),
		"cross-site":  crossSite(g),
		"sign-out":    b.post("/sign-out", nil),
		"end":         b.get("/requests/" + id),
		"foreign css": g.browser().get(g.app.assets.urls["app.js"]),
	}
	for name, w := range answers {
		h := w.Header()
		for header, want := range map[string]string{
			"X-Frame-Options":              "DENY",
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "same-origin",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if h.Get(header) != want {
				t.Errorf("%s: %s is %q", name, header, h.Get(header))
			}
		}
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "script-src 'self';", "style-src 'self';"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy lacks %q: %s", name, want, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") || strings.Contains(csp, "data:") || strings.Contains(csp, "http") {
			t.Errorf("%s: policy allows too much: %s", name, csp)
		}
		if !strings.Contains(h.Get("Permissions-Policy"), "camera=()") {
			t.Errorf("%s: no Permissions-Policy", name)
		}
		wantCache := "no-store"
		if w.Code == http.StatusOK && strings.Contains(name, "css") {
			wantCache = "public, max-age=31536000, immutable"
		}
		if h.Get("Cache-Control") != wantCache {
			t.Errorf("%s: Cache-Control %q", name, h.Get("Cache-Control"))
		}
		if w.Code == http.StatusTemporaryRedirect || w.Code == http.StatusPermanentRedirect {
			t.Errorf("%s: a redirect that repeats the form", name)
		}
	}
}

func otherHost(g *rig) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	g.app.ServeHTTP(w, httptest.NewRequest("GET", "https://evil.example/", nil))
	return w
}

func crossSite(g *rig) *httptest.ResponseRecorder {
	b := g.browser()
	b.header.Set("Sec-Fetch-Site", "cross-site")
	return b.post("/sign-in", nil)
}

// U25: headers of proxies change nothing; addresses come from the public URL.
func TestForwardedHeadersAreIgnored(t *testing.T) {
	g := newRig(t)
	b := g.browser()
	for name, value := range map[string]string{
		"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "javascript", "X-Forwarded-Prefix": "/evil",
		"Forwarded": "host=evil.example;proto=http", "X-Original-URL": "/evil", "X-Rewrite-URL": "/evil",
		"X-HTTP-Method-Override": "POST", "X-Forwarded-For": "evil",
	} {
		b.header.Set(name, value)
	}
	w := b.get("/requests/abc")
	if w.Header().Get("Location") != "/sign-in?next=%2Frequests%2Fabc" {
		t.Errorf("redirect to %q", w.Header().Get("Location"))
	}
	w = b.signIn("alice", testPassword)
	if w.Header().Get("Location") != "/" {
		t.Errorf("redirect to %q", w.Header().Get("Location"))
	}
	for _, path := range []string{"/", "/requests/abc"} {
		if body := b.get(path).Body.String(); strings.Contains(body, "evil") || strings.Contains(body, "javascript") {
			t.Errorf("%s repeats a header", path)
		}
	}
}

// U26: another host is sent to the right address; a flood of languages is no
// reason to work.
func TestHostAndLanguages(t *testing.T) {
	g := newRig(t)
	for host, want := range map[string]int{
		testHost: 200, "ID.example.com": 200, testHost + ":443": 200,
		"evil.example": 421, testHost + ".evil.example": 421, testHost + ":8443": 421, "": 421, "www." + testHost: 421,
	} {
		r := httptest.NewRequest("GET", "/sign-in", nil)
		r.Host = host
		w := httptest.NewRecorder()
		g.app.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("host %q: %d, want %d", host, w.Code, want)
		}
		if host != "" && want == 421 && strings.Contains(w.Body.String(), host) {
			t.Errorf("the page repeats host %q", host)
		}
	}
	for header, want := range map[string]string{
		"":                            "en",
		"de":                          "de",
		"de-AT,de;q=0.9,en;q=0.5":     "de",
		"ja,zh;q=0.9":                 "en",
		"ja,de;q=0.1":                 "de",
		"*":                           "en",
		"<script>":                    "en",
		strings.Repeat("de,", 30<<10): "en",
		"en-GB-oxendict,de;q=0.8":     "en",
	} {
		b := g.browser()
		b.header.Set("Accept-Language", header)
		if body := b.get("/sign-in").Body.String(); !strings.Contains(body, `<html lang="`+want+`">`) {
			t.Errorf("Accept-Language %.40q is not answered in %s", header, want)
		}
	}
}

// The app takes its own addresses and leaves all others to whoever shares the host.
func TestHandles(t *testing.T) {
	for _, base := range []string{"", "/approvals"} {
		g := newRig(t, func(_ *provider.Config, c *Config) { c.PublicURL = testPublic + base })
		for path, want := range map[string]bool{
			"/": true, "/sign-in": true, "/sign-out": true, "/requests/abc": true, "/requests/abc/decision": true, "/assets/x": true,
			"/sign-in/": false, "/requests": false, "/requests/": false, "/requests/a/b": false, "/requests/a/decision/": false,
			"/requests/a%2fb": false, "/requests/%61": false, "/requests//a": false, "/requests/..": false, "/assets/": false, "/assets/a/b": false,
			"//": false, "/token": false, "/.well-known/openid-configuration": false, "/SIGN-IN": false,
			"/requests/" + strings.Repeat("a", 129): false,
		} {
			if got := g.app.Handles(httptest.NewRequest("GET", base+path, nil)); got != want {
				t.Errorf("Handles(%q) = %v", base+path, got)
			}
		}
		if base != "" && g.app.Handles(httptest.NewRequest("GET", "/", nil)) {
			t.Error("takes what lies above its base path")
		}
	}
}

// With a base path every address of a page lies below it.
func TestBasePath(t *testing.T) {
	g := newRig(t, func(_ *provider.Config, c *Config) { c.PublicURL = testPublic + "/approvals/" })
	b := g.browser()
	w := b.get("/approvals/requests/abc")
	if w.Header().Get("Location") != "/approvals/sign-in?next=%2Fapprovals%2Frequests%2Fabc" {
		t.Errorf("redirect to %q", w.Header().Get("Location"))
	}
	body := b.get("/approvals/sign-in").Body.String()
	for _, part := range strings.Split(body, `="/`)[1:] {
		if !strings.HasPrefix(part, "approvals/") {
			t.Errorf("address /%.40s", part)
		}
	}
}

// The first page is small: less than 40 KiB compressed with all of its files.
func TestWeight(t *testing.T) {
	g := newRig(t)
	var c counting
	z := gzip.NewWriter(&c)
	_, err := z.Write(g.browser().get("/sign-in").Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range g.app.assets.byName {
		_, err := z.Write(file.body)
		if err != nil {
			t.Fatal(err)
		}
	}
	err = z.Close()
	if err != nil {
		t.Fatal(err)
	}
	if c > 40<<10 {
		t.Errorf("%d bytes", c)
	}
}

type counting int

func (c *counting) Write(p []byte) (int, error) {
	*c += counting(len(p))
	return len(p), nil
}
