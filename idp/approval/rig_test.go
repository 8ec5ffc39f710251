package approval

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// Fixed facts of the test world.
const (
	testPublic   = "https://id.example.com"
	testHost     = "id.example.com"
	testPassword = "Grüße aus Wien 7"
	testScope    = "my_wire_transfer_scope"
)

// clock is a clock that tests move. It stands still, or runs with the real one.
type clock struct {
	mu      sync.Mutex
	now     time.Time
	started time.Time // of the real clock, while it runs
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started.IsZero() {
		return c.now
	}
	return c.now.Add(time.Since(c.started))
}

// follow lets the clock run from the real time on.
func (c *clock) follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = time.Now()
	c.now = c.started
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is an app over a real provider and a memory store.
type rig struct {
	t        testing.TB
	app      *App
	provider *provider.Provider
	store    store.Store
	clock    *clock
	compares int // how many passwords were compared
	hashes   [][]byte
	mu       sync.Mutex
}

// plainCompare stands in for argon2id: the "hash" is the password with a prefix.
func (g *rig) plainCompare(hash, password []byte) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.compares++
	g.hashes = append(g.hashes, bytes.Clone(hash))
	return bytes.Equal(hash, append([]byte("plain:"), password...)), nil
}

func testUsers(t testing.TB) provider.UserStore {
	t.Helper()
	users, err := provider.NewStaticUsers([]provider.User{
		{ID: "sub-alice", Username: "alice", Name: "Alice Liddell", PasswordHash: "plain:" + testPassword},
		{ID: "sub-bob", Username: "bob", Name: "Bob", PasswordHash: "plain:" + testPassword},
		{ID: "sub-eve", Username: "eve", Name: "Eve", PasswordHash: "plain:" + testPassword, Disabled: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// newRig builds a rig. The functions change both configurations before use.
func newRig(t testing.TB, change ...func(*provider.Config, *Config)) *rig {
	t.Helper()
	c := &clock{now: time.Date(2026, 11, 22, 14, 2, 0, 0, time.UTC)}
	g := &rig{t: t, clock: c}
	mem := store.NewMemory(store.Options{Now: c.Now})
	g.store = mem
	users := testUsers(t)
	pc := provider.Config{
		Issuer: testPublic, Store: mem, Users: users, Now: c.Now,
		Scopes: []provider.Scope{
			{Name: testScope, DisplayName: "Make this transfer", Description: "Once, with exactly these details.", Required: true, Emphasize: true},
		},
		Clients: []provider.Client{
			{
				ID: "bank", Name: "Example Bank", Scopes: []string{"profile", "email", testScope},
				SecretHashes: []provider.SecretHash{provider.HashSecret("s3cret")},
			},
		},
		MaxPendingPerUser: 20, MaxPendingPerUserAndClient: 20,
	}
	cfg := Config{
		Users: users, Store: mem, PublicURL: testPublic,
		ComparePassword: g.plainCompare, FakeHash: []byte("plain:fake"),
		Brand: Brand{Name: "Example Bank Approvals"}, Now: c.Now,
	}
	for _, f := range change {
		f(&pc, &cfg)
	}
	p, err := provider.New(pc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	g.provider = p
	if cfg.Provider == nil {
		cfg.Provider = p
	}
	g.app, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// ask starts an authentication request for a user and returns the auth_req_id
// and the public id of the request.
func (g *rig) ask(user, message string) (authReqID, id string) {
	g.t.Helper()
	form := url.Values{}
	if message != "" {
		form.Set("binding_message", message)
	}
	return g.start(user, form)
}

// pay is ask with the details of a payment.
func (g *rig) pay(user, message string) (authReqID, id string) {
	g.t.Helper()
	return g.start(user, url.Values{"binding_message": {message}, "authorization_details": {payment}, "request_context": {`{"place":"Teller desk 7, Vienna"}`}})
}

// start starts an authentication request with the given parameters and the usual ones.
func (g *rig) start(user string, form url.Values) (authReqID, id string) {
	g.t.Helper()
	before := g.pending(user)
	form.Set("scope", "openid profile "+testScope)
	form.Set("login_hint", user)
	form.Set("requested_expiry", "120")
	r := httptest.NewRequest(http.MethodPost, testPublic+"/backchannel-authentication", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("bank", "s3cret")
	w := httptest.NewRecorder()
	g.provider.ServeHTTP(w, r)
	var answer struct {
		AuthReqID string `json:"auth_req_id"`
	}
	err := json.Unmarshal(w.Body.Bytes(), &answer)
	if err != nil || answer.AuthReqID == "" {
		g.t.Fatalf("starting a request: %d %s", w.Code, w.Body)
	}
	for id := range g.pending(user) {
		if !before[id] {
			return answer.AuthReqID, id
		}
	}
	g.t.Fatal("the request is not pending")
	return "", ""
}

// pending returns the ids of the requests that wait for a user.
func (g *rig) pending(user string) map[string]bool {
	g.t.Helper()
	requests, err := g.provider.Pending(context.Background(), "sub-"+user)
	if err != nil {
		g.t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, r := range requests {
		ids[r.ID] = true
	}
	return ids
}

// redeem polls the token endpoint and returns status and answer.
func (g *rig) redeem(authReqID string) (int, map[string]any) {
	g.t.Helper()
	form := url.Values{"grant_type": {provider.GrantCIBA}, "auth_req_id": {authReqID}}
	r := httptest.NewRequest(http.MethodPost, testPublic+"/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("bank", "s3cret")
	w := httptest.NewRecorder()
	g.provider.ServeHTTP(w, r)
	answer := map[string]any{}
	err := json.Unmarshal(w.Body.Bytes(), &answer)
	if err != nil {
		g.t.Fatalf("token answer: %d %s", w.Code, w.Body)
	}
	return w.Code, answer
}

// state returns the state of a request.
func (g *rig) state(user, id string) provider.State {
	g.t.Helper()
	req, err := g.provider.Request(context.Background(), "sub-"+user, id)
	if err != nil {
		g.t.Fatal(err)
	}
	return req.State
}

// browser is a browser of the tests: cookies and the headers that browsers send.
type browser struct {
	g       *rig
	cookies map[string]string
	header  http.Header // set on each request, after the usual ones; an empty list removes
}

func (g *rig) browser() *browser {
	return &browser{g: g, cookies: map[string]string{}, header: http.Header{}}
}

// do sends one request and keeps cookies.
func (b *browser) do(method, path string, body io.Reader) *httptest.ResponseRecorder {
	b.g.t.Helper()
	r := httptest.NewRequest(method, b.g.app.origin+path, body)
	r.Header.Set("Accept-Language", "en")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.g.app.origin)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, values := range b.header {
		r.Header.Del(name)
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.g.app.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name] = c.Value
	}
	return w
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	b.g.t.Helper()
	return b.do(http.MethodGet, path, nil)
}

func (b *browser) post(path string, form url.Values) *httptest.ResponseRecorder {
	b.g.t.Helper()
	return b.do(http.MethodPost, path, strings.NewReader(form.Encode()))
}

var tokenPattern = regexp.MustCompile(`name="token" value="([^"]+)"`)

// token returns the last form token of a page: that of the page's own form, the
// first being the one of the sign-out form.
func token(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	found := tokenPattern.FindAllStringSubmatch(w.Body.String(), -1)
	if len(found) == 0 {
		t.Fatalf("no form token in page (status %d):\n%s", w.Code, w.Body)
	}
	return found[len(found)-1][1]
}

// signIn posts the sign-in form.
func (b *browser) signIn(user, password string) *httptest.ResponseRecorder {
	b.g.t.Helper()
	form := url.Values{"username": {user}, "password": {password}}
	form.Set("token", token(b.g.t, b.get("/sign-in")))
	return b.post("/sign-in", form)
}

// signedIn returns a browser in which the user is signed in.
func (g *rig) signedIn(user string) *browser {
	g.t.Helper()
	b := g.browser()
	w := b.signIn(user, testPassword)
	if w.Code != http.StatusSeeOther {
		g.t.Fatalf("sign-in of %s: %d\n%s", user, w.Code, w.Body)
	}
	return b
}

// decision reads the page of a request and returns the form for a decision.
func (b *browser) decision(id, decision string, scopes ...string) url.Values {
	b.g.t.Helper()
	return url.Values{"token": {token(b.g.t, b.get("/requests/"+id))}, "decision": {decision}, "scope": scopes}
}

// decide reads the page of a request and posts a decision.
func (b *browser) decide(id, decision string, scopes ...string) *httptest.ResponseRecorder {
	b.g.t.Helper()
	return b.post("/requests/"+id+"/decision", b.decision(id, decision, scopes...))
}
