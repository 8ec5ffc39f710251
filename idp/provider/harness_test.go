package provider_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer  = "https://id.example.com"
	secret1 = "the-secret-of-gateway-8b1f0c"
	secret2 = "the-secret-of-other-2f6e91"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// users is a user store in which users can be disabled.
type users struct {
	mu   sync.Mutex
	all  *provider.StaticUsers
	off  map[string]bool
	fail error
}

func newUsers(t testing.TB) *users {
	t.Helper()
	all, err := provider.NewStaticUsers([]provider.User{
		{ID: "sub-alice", Username: "alice", Name: "Alice Example", Claims: map[string]any{
			"email": "alice@example.com", "customer_id": "C-1",
		}},
		{ID: "sub-bob", Username: "bob", Name: "Bob Example"},
		{ID: "sub-carol", Username: "carol", Disabled: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &users{all: all, off: make(map[string]bool)}
}

func (u *users) disable(subject string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.off[subject] = true
}

func (u *users) breakDown(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fail = err
}

func (u *users) patch(user *provider.User, err error) (*provider.User, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fail != nil {
		return nil, u.fail
	}
	if err == nil && u.off[user.ID] {
		user.Disabled = true
	}
	return user, err
}

func (u *users) ByLogin(ctx context.Context, hint string) (*provider.User, error) {
	return u.patch(u.all.ByLogin(ctx, hint))
}

func (u *users) BySubject(ctx context.Context, subject string) (*provider.User, error) {
	return u.patch(u.all.BySubject(ctx, subject))
}

// world is a provider with everything around it.
type world struct {
	t     testing.TB
	clock *clock
	users *users
	store store.Store
	cfg   provider.Config
	*provider.Provider
}

// unlimited is for tests of something else that ask and fail more often than people
// do: the clock stands still for most of them.
var unlimited = provider.Limits{User: provider.Rate{Burst: -1}, Failures: provider.Rate{Burst: -1}}

// newWorld returns a provider with two clients on a memory store. change may
// alter the configuration.
func newWorld(t testing.TB, change func(*provider.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: newClock(), users: newUsers(t)}
	w.store = store.NewMemory(store.Options{Now: w.clock.Now})
	w.cfg = provider.Config{
		Issuer: issuer,
		Store:  w.store,
		Users:  w.users,
		Now:    w.clock.Now,
		Limits: unlimited, CoolDown: provider.CoolDown{First: -1},
		Clients: []provider.Client{
			{
				ID: "gateway", Name: "Example Bank", SecretHashes: []provider.SecretHash{provider.HashSecret(secret1)},
				Scopes: []string{"profile", "email", "my_wire_transfer_scope"},
			},
			{ID: "other", SecretHashes: []provider.SecretHash{provider.HashSecret(secret2)}},
			{ID: "disabled", SecretHashes: []provider.SecretHash{provider.HashSecret(secret1)}, Disabled: true},
			{ID: "poster", AuthMethod: provider.AuthSecretPost, SecretHashes: []provider.SecretHash{provider.HashSecret(secret1)}},
		},
		Scopes: []provider.Scope{{
			Name: "my_wire_transfer_scope", DisplayName: "Wire transfers",
			Audience: "https://bank.example.com", Claims: []string{"customer_id"},
		}},
	}
	if change != nil {
		change(&w.cfg)
	}
	w.store = w.cfg.Store
	w.restart()
	t.Cleanup(func() {
		w.Provider.Close()
		err := w.store.Close()
		if err != nil {
			t.Errorf("closing store: %v", err)
		}
	})
	return w
}

// restart replaces the provider by one of the current configuration, as a reload
// or another node would.
func (w *world) restart() {
	w.t.Helper()
	if w.Provider != nil {
		w.Provider.Close()
	}
	p, err := provider.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Provider = p
}

// answer is an HTTP answer with its JSON body.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a *answer) str(name string) string {
	s, _ := a.body[name].(string)
	return s
}

func (w *world) do(r *http.Request) *answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	a := &answer{status: rec.Code, header: rec.Header(), raw: rec.Body.String()}
	if rec.Body.Len() > 0 {
		err := json.Unmarshal(rec.Body.Bytes(), &a.body)
		if err != nil {
			w.t.Fatalf("answer is not JSON: %v: %s", err, rec.Body)
		}
	}
	return a
}

// post sends a form as a client that authenticates by client_secret_basic.
func (w *world) post(clientID, path string, params ...string) *answer {
	w.t.Helper()
	secret := secret1
	if clientID == "other" {
		secret = secret2
	}
	r := postRequest(path, form(params...).Encode())
	r.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(secret))
	return w.do(r)
}

func form(params ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(params); i += 2 {
		values.Add(params[i], params[i+1])
	}
	return values
}

func postRequest(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// start starts a request for alice and returns its auth_req_id and public id.
func (w *world) start(params ...string) (authReqID, id string) {
	w.t.Helper()
	a := w.post("gateway", "/backchannel-authentication",
		append([]string{"scope", "openid profile my_wire_transfer_scope", "login_hint", "alice"}, params...)...)
	if a.status != http.StatusOK {
		w.t.Fatalf("start: %d %s", a.status, a.raw)
	}
	pending, err := w.Pending(context.Background(), "sub-alice")
	if err != nil {
		w.t.Fatal(err)
	}
	if len(pending) == 0 {
		w.t.Fatal("started request is not pending")
	}
	return a.str("auth_req_id"), pending[len(pending)-1].ID
}

// poll asks for the tokens of a request.
func (w *world) poll(clientID, authReqID string, params ...string) *answer {
	w.t.Helper()
	return w.post(clientID, "/token",
		append([]string{"grant_type", provider.GrantCIBA, "auth_req_id", authReqID}, params...)...)
}

// approve approves a request of alice with all scopes.
func (w *world) approve(id string) error {
	w.t.Helper()
	return w.Approve(context.Background(), w.approval(id))
}

func (w *world) approval(id string) provider.Approval {
	return provider.Approval{
		Subject: "sub-alice", RequestID: id,
		Scopes:   []string{"openid", "profile", "my_wire_transfer_scope"},
		AuthTime: w.clock.Now().Add(-time.Minute), AMR: []string{"pwd"}, ACR: "urn:example:pwd",
	}
}

func (w *world) mustApprove(id string) {
	w.t.Helper()
	err := w.approve(id)
	if err != nil {
		w.t.Fatalf("approve: %v", err)
	}
}

// want checks status and error code of an answer.
func (a *answer) want(t testing.TB, status int, code string) {
	t.Helper()
	if a.status != status || a.str("error") != code {
		t.Fatalf("got %d %s, want %d %q", a.status, a.raw, status, code)
	}
}
