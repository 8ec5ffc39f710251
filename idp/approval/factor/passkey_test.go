package factor_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/approval/factor/factortest"
	"github.com/caddyciba/gateway/idp/provider"
)

const (
	origin = "https://id.example.com"
	rpID   = "id.example.com"
)

var (
	alice  = &provider.User{ID: "sub-alice", Username: "alice", Name: "Alice Liddell"}
	bob    = &provider.User{ID: "sub-bob", Username: "bob"}
	window = factor.Binding{"a browser"}
)

// world is a store with a clock that tests move, and any number of vaults on it.
type world struct {
	t     testing.TB
	store store.Store
	mu    sync.Mutex
	now   time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 22, 14, 2, 0, 0, time.UTC)}
	w.store = store.NewMemory(store.Options{Now: w.clock})
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// vault is one node.
func (w *world) vault() *factor.Vault {
	w.t.Helper()
	v, err := factor.New(factor.Config{Store: w.store, Origin: origin, Name: "Example Bank", Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// register gives a customer a passkey.
func (w *world) register(v *factor.Vault, user *provider.User) *factortest.Authenticator {
	w.t.Helper()
	a := factortest.New(w.t, origin, rpID)
	options, err := v.RegistrationOptions(context.Background(), user, window)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = v.Register(context.Background(), user.ID, window, a.Create(options), "Phone", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) options(v *factor.Vault) []byte {
	w.t.Helper()
	options, err := v.SignInOptions(context.Background(), window)
	if err != nil {
		w.t.Fatal(err)
	}
	return options
}

func TestPasskey(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	a := w.register(v, alice)
	account, err := v.Account(context.Background(), alice.ID)
	if err != nil || len(account.Passkeys) != 1 || account.Passkeys[0].Name != "Phone" || !account.CanUsePasskey() {
		t.Fatalf("account: %+v, %v", account, err)
	}
	w.advance(time.Hour)
	assertion, err := w.vault().SignIn(context.Background(), window, a.Get(w.options(v))) // on another node
	if err != nil || assertion.Subject != alice.ID || assertion.Passkey.Synced {
		t.Fatalf("sign-in: %+v, %v", assertion, err)
	}
	account, err = v.Account(context.Background(), alice.ID)
	if err != nil || !account.Passkeys[0].Used.Equal(w.clock()) {
		t.Errorf("use was not noted: %+v, %v", account, err)
	}
	err = v.RemovePasskey(context.Background(), alice.ID, account.Passkeys[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.SignIn(context.Background(), window, a.Get(w.options(v)))
	if !errors.Is(err, factor.ErrWrong) {
		t.Errorf("sign-in with a removed passkey: %v", err)
	}
}

// U17, U18, U19, U20: what an authenticator or its browser says must be right.
func TestPasskeyLies(t *testing.T) {
	tests := map[string]struct {
		lie  func(*factortest.Authenticator)
		want error
	}{
		"U17 other origin":         {func(a *factortest.Authenticator) { a.Origin = "https://idp.evil" }, factor.ErrWrong},
		"U17 plain http":           {func(a *factortest.Authenticator) { a.Origin = "http://id.example.com" }, factor.ErrWrong},
		"U17 subdomain":            {func(a *factortest.Authenticator) { a.Origin = "https://x.id.example.com" }, factor.ErrWrong},
		"U17 parent domain":        {func(a *factortest.Authenticator) { a.Origin = "https://example.com" }, factor.ErrWrong},
		"U17 other port":           {func(a *factortest.Authenticator) { a.Origin = origin + ":8443" }, factor.ErrWrong},
		"U18 other relying party":  {func(a *factortest.Authenticator) { a.RPID = "example.com" }, factor.ErrWrong},
		"U18 type of registration": {func(a *factortest.Authenticator) { a.Type = "webauthn.create" }, factor.ErrWrong},
		"U19 nobody was there":     {func(a *factortest.Authenticator) { a.Flags &^= factortest.UP }, factor.ErrWrong},
		"U19 nobody was verified":  {func(a *factortest.Authenticator) { a.Flags &^= factortest.UV }, factor.ErrWrong},
		"U19 BS without BE":        {func(a *factortest.Authenticator) { a.Flags |= factortest.BS }, factor.ErrWrong},
		"U19 in a frame":           {func(a *factortest.Authenticator) { a.CrossOrigin = true }, factor.ErrWrong},
		"BE has changed":           {func(a *factortest.Authenticator) { a.Flags |= factortest.BE }, factor.ErrChanged},
		"U20 counter lower":        {func(a *factortest.Authenticator) { a.Counter = 4 }, factor.ErrCloned},
		"U20 counter equal":        {func(a *factortest.Authenticator) { a.Counter = 5 }, factor.ErrCloned},
		"U20 counter gone":         {func(a *factortest.Authenticator) { a.Counter = 0 }, factor.ErrCloned},
		"U22 user handle of none":  {func(a *factortest.Authenticator) { a.Handle = []byte("nobody") }, factor.ErrWrong},
		"U22 no user handle":       {func(a *factortest.Authenticator) { a.Handle = nil }, factor.ErrMalformed},
		"U22 unknown id":           {func(a *factortest.Authenticator) { a.ID = []byte("unknown") }, factor.ErrWrong},
		"counter higher":           {func(a *factortest.Authenticator) { a.Counter = 9 }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			v := w.vault()
			a := w.register(v, alice)
			a.Counter = 5
			_, err := v.SignIn(context.Background(), window, a.Get(w.options(v)))
			if err != nil {
				t.Fatal(err)
			}
			a.Counter = 6
			test.lie(a)
			_, err = v.SignIn(context.Background(), window, a.Get(w.options(v)))
			if !errors.Is(err, test.want) {
				t.Errorf("sign-in: %v, want %v", err, test.want)
			}
			account, err := v.Account(context.Background(), alice.ID)
			if err != nil || account.Passkeys[0].Blocked != (test.want == factor.ErrCloned) {
				t.Errorf("account after it: %+v, %v", account, err)
			}
			if test.want == factor.ErrCloned {
				a.Counter = 100
				_, err = v.SignIn(context.Background(), window, a.Get(w.options(v)))
				if !errors.Is(err, factor.ErrCloned) {
					t.Errorf("a blocked passkey is taken: %v", err)
				}
			}
		})
	}
}

// U22: a passkey proves its own customer and nobody else.
func TestPasskeyOfAnother(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	a, b := w.register(v, alice), w.register(v, bob)
	b.Handle = a.Handle
	_, err := v.SignIn(context.Background(), window, b.Get(w.options(v)))
	if !errors.Is(err, factor.ErrWrong) {
		t.Errorf("bob's passkey with alice's handle: %v", err)
	}
	b.ID = a.ID
	_, err = v.SignIn(context.Background(), window, b.Get(w.options(v)))
	if !errors.Is(err, factor.ErrWrong) {
		t.Errorf("bob's key under alice's credential id: %v", err)
	}
}

// U21: a challenge is good once, for ten minutes, in the browser it was made for, and
// for what it was made for.
func TestPasskeyChallenge(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	a := w.register(v, alice)
	answer := a.Get(w.options(v))
	_, err := v.SignIn(context.Background(), factor.Binding{"another browser"}, answer)
	if !errors.Is(err, factor.ErrStale) {
		t.Errorf("in another browser: %v", err)
	}
	registration, err := v.RegistrationOptions(context.Background(), alice, window)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.SignIn(context.Background(), window, a.Get(registration))
	if !errors.Is(err, factor.ErrStale) {
		t.Errorf("challenge of a registration: %v", err)
	}
	_, err = v.SignIn(context.Background(), window, a.Sign("c29tZXRoaW5nIHRoYXQgdGhlIHNlcnZlciBuZXZlciBzYWlk"))
	if !errors.Is(err, factor.ErrStale) {
		t.Errorf("challenge of the browser's own: %v", err)
	}
	late := a.Get(w.options(v))
	w.advance(11 * time.Minute)
	_, err = v.SignIn(context.Background(), window, late)
	if !errors.Is(err, factor.ErrStale) {
		t.Errorf("11 minutes old: %v", err)
	}
	// One of many at once, on two nodes, and none after it.
	answer = a.Get(w.options(v))
	nodes := []*factor.Vault{w.vault(), w.vault()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for i := range 64 {
		wg.Go(func() {
			_, err := nodes[i%2].SignIn(context.Background(), window, answer)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				good++
			} else if !errors.Is(err, factor.ErrStale) {
				t.Errorf("one of many: %v", err)
			}
		})
	}
	wg.Wait()
	if good != 1 {
		t.Errorf("%d of 64 answers to one challenge were taken", good)
	}
}

// U23: what can not be read, or is of a kind that is not taken.
func TestPasskeyMalformed(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	good := func() []byte {
		options, err := v.RegistrationOptions(context.Background(), alice, window)
		if err != nil {
			t.Fatal(err)
		}
		return factortest.New(t, origin, rpID).Create(options)
	}
	algorithm := func(alg int) []byte {
		options, err := v.RegistrationOptions(context.Background(), alice, window)
		if err != nil {
			t.Fatal(err)
		}
		a := factortest.New(t, origin, rpID)
		a.Algorithm = alg
		return a.Create(options)
	}
	deep := `"` + strings.Repeat("gYGBgYGBgYGB", 1000) + `"`
	tests := map[string][]byte{
		"RS1":             algorithm(-65535),
		"none":            algorithm(0),
		"HS256":           algorithm(5),
		"empty":           nil,
		"no JSON":         []byte("null and void"),
		"trailing bytes":  append(good(), []byte(`{"x":1}`)...),
		"cut":             good()[:200],
		"CBOR depth":      bytes.Replace(good(), []byte(`"attestationObject":"`), []byte(`"attestationObject":`+deep+`,"x":"`), 1),
		"an assertion":    []byte(`{"id":"YQ","rawId":"YQ","type":"public-key","response":{}}`),
		"type of nothing": bytes.Replace(good(), []byte(`public-key`), []byte(`password`), 1),
	}
	for name, response := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := v.Register(context.Background(), alice.ID, window, response, "", nil)
			if !errors.Is(err, factor.ErrMalformed) {
				t.Errorf("registration: %v", err)
			}
			_, err = v.SignIn(context.Background(), window, response)
			if !errors.Is(err, factor.ErrMalformed) {
				t.Errorf("sign-in: %v", err)
			}
		})
	}
	account, err := v.Account(context.Background(), alice.ID)
	if err != nil || len(account.Passkeys) != 0 {
		t.Errorf("account: %+v, %v", account, err)
	}
}

// U24: a credential id belongs to one customer.
func TestPasskeyTaken(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	a := w.register(v, alice)
	options, err := v.RegistrationOptions(context.Background(), bob, window)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Register(context.Background(), alice.ID, window, a.Create(options), "", nil)
	if !errors.Is(err, factor.ErrStale) {
		t.Errorf("bob's challenge for alice: %v", err)
	}
	_, err = v.Register(context.Background(), bob.ID, window, a.Create(options), "", nil)
	if !errors.Is(err, factor.ErrTaken) {
		t.Errorf("alice's credential for bob: %v", err)
	}
}

// What a customer agrees to is what was shown and chosen, and nothing else.
func TestStatement(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	a, other := w.register(v, alice), w.register(v, bob)
	statement := factor.Statement{Subject: alice.ID, Request: "r1", Shown: [32]byte{1}, Choice: "approve\nopenid pay"}
	prepare := func() *factor.StatementOptions {
		t.Helper()
		options, err := v.StatementOptions(context.Background(), statement, window, nil)
		if err != nil {
			t.Fatal(err)
		}
		return options
	}
	sign := func(a *factortest.Authenticator, s factor.Statement, ticket string) []byte {
		challenge := s.Challenge(ticket)
		return a.Sign(encode(challenge[:]))
	}
	ticket := prepare().Ticket
	assertion, err := v.Agree(context.Background(), statement, window, ticket, sign(a, statement, ticket))
	if err != nil || assertion.Subject != alice.ID || len(assertion.PublicKey) == 0 {
		t.Fatalf("agreement: %+v, %v", assertion, err)
	}
	_, err = v.Agree(context.Background(), statement, window, ticket, sign(a, statement, ticket))
	if !errors.Is(err, factor.ErrStale) {
		t.Errorf("a second time: %v", err)
	}
	for name, change := range map[string]func(*factor.Statement){
		"request": func(s *factor.Statement) { s.Request = "r2" },
		"shown":   func(s *factor.Statement) { s.Shown[0] = 2 },
		"choice":  func(s *factor.Statement) { s.Choice = "approve\nopenid pay profile" },
		"subject": func(s *factor.Statement) { s.Subject = bob.ID },
	} {
		ticket, changed := prepare().Ticket, statement
		change(&changed)
		_, err = v.Agree(context.Background(), changed, window, ticket, sign(a, statement, ticket))
		if !errors.Is(err, factor.ErrStale) {
			t.Errorf("agreement to another %s: %v", name, err)
		}
		_, err = v.Agree(context.Background(), statement, window, ticket, sign(a, changed, ticket))
		if !errors.Is(err, factor.ErrStale) {
			t.Errorf("another %s was signed: %v", name, err)
		}
	}
	ticket = prepare().Ticket
	_, err = v.Agree(context.Background(), statement, factor.Binding{"another session"}, ticket, sign(a, statement, ticket))
	if !errors.Is(err, factor.ErrStale) {
		t.Errorf("in another session: %v", err)
	}
	_, err = v.Agree(context.Background(), statement, window, ticket, sign(other, statement, ticket))
	if !errors.Is(err, factor.ErrWrong) {
		t.Errorf("with bob's passkey: %v", err)
	}
}
