package approval

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// U16: a session id is made at sign-in and only there.
func TestSessionCookie(t *testing.T) {
	g := newRig(t)
	b := g.browser()
	name := g.app.cookieName("session")

	fixed := strings.Repeat("A", 43)
	b.cookies[name] = fixed
	if w := b.get("/"); w.Code != http.StatusSeeOther {
		t.Errorf("made-up id: %d", w.Code)
	}
	w := b.signIn("alice", testPassword)
	first := b.cookies[name]
	if first == fixed || first == "" {
		t.Errorf("sign-in kept the id of the cookie (%d)", w.Code)
	}
	for _, c := range w.Result().Cookies() {
		if c.Name != name {
			continue
		}
		if !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || !strings.HasPrefix(c.Name, "__Host-") {
			t.Errorf("cookie: %s", c)
		}
	}

	// Signing in again ends the session before.
	again := g.browser()
	again.cookies[name] = first
	form := map[string][]string{"username": {"alice"}, "password": {testPassword}}
	again.cookies[g.app.cookieName("form")] = fixed
	secret, _ := again.g.app.cookieSecret(requestWith(again), "form")
	form["token"] = []string{formToken(secret, signInPurpose)}
	if w := again.post("/sign-in", form); w.Code != http.StatusSeeOther || again.cookies[name] == first {
		t.Fatalf("signing in again: %d", w.Code)
	}
	if w := b.get("/"); w.Code != http.StatusSeeOther {
		t.Errorf("the old id still works: %d", w.Code)
	}
	if w := again.get("/"); w.Code != http.StatusOK {
		t.Errorf("the new id: %d", w.Code)
	}

	good := again.cookies[name]
	for what, value := range map[string]string{
		"tampered":     map[bool]string{true: "b", false: "a"}[good[0] == 'a'] + good[1:],
		"8 KiB":        strings.Repeat("A", 8<<10),
		"empty":        "",
		"padded":       good + "=",
		"not base64":   strings.Repeat("!", 43),
		"not the last": good[:42] + string(good[42]+1), // unused bits of the last character set
	} {
		b := g.browser()
		b.cookies[name] = value
		if w := b.get("/"); w.Code != http.StatusSeeOther {
			t.Errorf("%s: %d", what, w.Code)
		}
	}

	twice := requestWith(again)
	twice.AddCookie(&http.Cookie{Name: name, Value: fixed})
	w = httptest.NewRecorder()
	g.app.ServeHTTP(w, twice)
	if w.Code != http.StatusSeeOther {
		t.Errorf("cookie given twice: %d", w.Code)
	}
}

func requestWith(b *browser) *http.Request {
	r := httptest.NewRequest(http.MethodGet, b.g.app.origin+"/", nil)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

// The store never sees the id itself.
func TestSessionIsStoredHashed(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	id := b.cookies[g.app.cookieName("session")]
	records, err := g.store.List(context.Background(), sessionKind, store.Index{Name: sessionSubject, Value: "sub-alice"}, "", 10)
	if err != nil || len(records) != 1 {
		t.Fatalf("records: %v, %v", records, err)
	}
	if records[0].ID == id || strings.Contains(string(records[0].Data), id) {
		t.Error("the store knows the session id")
	}
}

func TestSessionEnds(t *testing.T) {
	g := newRig(t)
	idle := g.signedIn("alice")
	g.clock.advance(DefaultSessionIdle - time.Second)
	if w := idle.get("/"); w.Code != http.StatusOK {
		t.Errorf("just before the idle time: %d", w.Code)
	}
	g.clock.advance(DefaultSessionIdle - time.Second)
	if w := idle.get("/"); w.Code != http.StatusOK {
		t.Errorf("the use did not prolong: %d", w.Code)
	}
	g.clock.advance(DefaultSessionIdle)
	if w := idle.get("/"); w.Code != http.StatusSeeOther {
		t.Errorf("after the idle time: %d", w.Code)
	}

	busy := g.signedIn("alice")
	for end := g.clock.Now().Add(DefaultSessionLifetime - time.Minute); g.clock.Now().Before(end); g.clock.advance(10 * time.Minute) {
		if w := busy.get("/"); w.Code != http.StatusOK {
			t.Fatalf("in use: %d", w.Code)
		}
	}
	g.clock.advance(10 * time.Minute)
	if w := busy.get("/"); w.Code != http.StatusSeeOther {
		t.Errorf("after its lifetime: %d", w.Code)
	}
}

// Plain http on loopback has cookies of another name, without Secure, which the
// __Host- prefix would need.
func TestLoopbackCookies(t *testing.T) {
	g := newRig(t, func(_ *provider.Config, c *Config) { c.PublicURL = "http://localhost:8080" })
	b := g.signedIn("alice")
	for name := range b.cookies {
		if strings.HasPrefix(name, "__Host-") {
			t.Errorf("cookie %s over http", name)
		}
	}
	if w := b.get("/"); w.Code != http.StatusOK {
		t.Errorf("list: %d", w.Code)
	}
}
