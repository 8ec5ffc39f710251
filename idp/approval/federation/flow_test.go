package federation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/approval/federation"
	"github.com/caddyciba/gateway/idp/approval/federation/federationtest"
)

const redirect = "https://id.example.com/sign-in/with/bank/callback"

// rig is an issuer in front of a provider.
type rig struct {
	t        *testing.T
	provider *federationtest.Provider
	issuer   *federation.Issuer
}

func newRig(t *testing.T, b federationtest.Behavior, change ...func(*federation.Config)) *rig {
	t.Helper()
	g := &rig{t: t, provider: federationtest.New(t)}
	g.provider.Expect(redirect)
	g.provider.Behave(b)
	cfg := federation.Config{
		Name: "bank", Issuer: g.provider.URL, ClientID: federationtest.ClientID, ClientSecret: federationtest.ClientSecret, RedirectURL: redirect,
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	g.issuer, err = federation.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.Client.CloseIdleConnections)
	return g
}

// own is the part of a config that each rig of a test has for itself.
func own(c *federation.Config) { c.Client = federation.NewClient(nil) }

func flow() federation.Flow {
	return federation.Flow{State: rand.Text() + rand.Text(), Nonce: rand.Text() + rand.Text(), Verifier: rand.Text() + rand.Text(), Began: time.Now()}
}

// run takes anna through a flow.
func (g *rig) run(f federation.Flow) (*federation.Identity, error) {
	g.t.Helper()
	address, err := g.issuer.Begin(g.t.Context(), f)
	if err != nil {
		return nil, err
	}
	back, err := url.Parse(g.provider.SignIn(address, "anna"))
	if err != nil {
		g.t.Fatal(err)
	}
	return g.issuer.Finish(g.t.Context(), f, back.Query())
}

func TestSignIn(t *testing.T) {
	g := newRig(t, federationtest.Behavior{Claims: func(c map[string]any) {
		c["acr"], c["amr"] = "loa3", []any{"pwd", "otp", 7, "a b", strings.Repeat("x", 33)}
	}}, own, func(c *federation.Config) {
		c.ACRValues, c.Scopes = []string{"loa4", "loa3"}, []string{"profile", "openid"}
	})
	got, err := g.run(flow())
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != "sub-of-anna" || got.ACR != "loa3" || !slices.Equal(got.AMR, []string{"pwd", "otp"}) || time.Since(got.AuthTime) > time.Minute {
		t.Errorf("got %+v", got)
	}
	asked := g.provider.Asked()
	for name, want := range map[string]string{"scope": "openid profile", "acr_values": "loa4 loa3", "max_age": "43200", "prompt": ""} {
		if asked.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, asked.Get(name), want)
		}
	}
	if asked.Has("code_verifier") || asked.Has("client_secret") {
		t.Errorf("the browser carries %v", asked)
	}
}

// A fresh proof asks for a new sign-in, and takes no older one.
func TestFreshProof(t *testing.T) {
	f := flow()
	f.Fresh = true
	g := newRig(t, federationtest.Behavior{}, own)
	got, err := g.run(f)
	if err != nil || got.AuthTime.Before(f.Began.Truncate(time.Second)) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if asked := g.provider.Asked(); asked.Get("prompt") != "login" || asked.Get("max_age") != "0" {
		t.Errorf("asked with %v", asked)
	}
	for name, b := range map[string]federationtest.Behavior{
		"signed in before":  {SignedIn: f.Began.Add(-time.Minute)},
		"nobody knows when": {Claims: func(c map[string]any) { delete(c, "auth_time") }},
	} {
		_, err := newRig(t, b, own).run(f)
		if !errors.Is(err, federation.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Without it, an old sign-in is one, within limits.
	old := federationtest.Behavior{SignedIn: time.Now().Add(-time.Hour)}
	got, err = newRig(t, old, own).run(flow())
	if err != nil || time.Since(got.AuthTime) < time.Hour {
		t.Errorf("an hour ago: %+v, %v", got, err)
	}
	_, err = newRig(t, old, own, func(c *federation.Config) { c.MaxAge = time.Minute }).run(flow())
	if !errors.Is(err, federation.ErrMismatch) {
		t.Errorf("too old: %v", err)
	}
}

// claims is a behavior that changes claims of the ID Token.
func claims(name string, value any) federationtest.Behavior {
	return federationtest.Behavior{Claims: func(c map[string]any) {
		if value == nil {
			delete(c, name)
			return
		}
		c[name] = value
	}}
}

// answer is a behavior that changes the parameters that the browser carries back.
func answer(name string, values ...string) federationtest.Behavior {
	return federationtest.Behavior{Answer: func(q url.Values) {
		q.Del(name)
		for _, v := range values {
			q.Add(name, v)
		}
	}}
}

// Whatever is missing or does not fit is refused.
func TestWrongAnswers(t *testing.T) {
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tests := map[string]federationtest.Behavior{
		"other state":        answer("state", "another"),
		"no state":           answer("state"),
		"two states":         answer("state", "a", "b"),
		"no code":            answer("code"),
		"other code":         answer("code", "guessed"),
		"other issuer":       answer("iss", "https://evil.example"),
		"no issuer":          answer("iss"),
		"token of another":   claims("iss", "https://evil.example"),
		"other audience":     claims("aud", "somebody"),
		"two audiences":      claims("aud", []string{federationtest.ClientID, "somebody"}),
		"other party":        claims("azp", "somebody"),
		"party no text":      claims("azp", 7),
		"other nonce":        claims("nonce", "another"),
		"no nonce":           claims("nonce", nil),
		"no subject":         claims("sub", ""),
		"expired":            claims("exp", now.Add(-time.Hour).Unix()),
		"issued long ago":    claims("iat", now.Add(-time.Hour).Unix()),
		"issued tomorrow":    claims("iat", now.Add(24*time.Hour).Unix()),
		"not issued":         claims("iat", nil),
		"signed in tomorrow": claims("auth_time", now.Add(time.Hour).Unix()),
		"time is a text":     claims("auth_time", "now"),
		"other access token": claims("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"long class":         claims("acr", strings.Repeat("a", 256)),
		"foreign key":        {Key: jose.JSONWebKey{Key: foreign, KeyID: "1"}, Alg: jose.ES256},
		"shared secret":      {Key: []byte(federationtest.ClientSecret), Alg: jose.HS256},
		"no ID Token":        {Tokens: func(m map[string]any) { delete(m, "id_token") }},
		"ID Token no text":   {Tokens: func(m map[string]any) { m["id_token"] = 7 }},
		"garbage":            {Tokens: func(m map[string]any) { m["id_token"] = "a.b.c" }},
	}
	for name, b := range tests {
		got, err := newRig(t, b, own).run(flow())
		if !errors.Is(err, federation.ErrMismatch) || got != nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		if err != nil && (strings.Contains(err.Error(), federationtest.ClientSecret) || strings.Contains(err.Error(), "eyJ")) {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
	for name, values := range map[string][]string{"with a class that was not asked for": {"loa4"}} {
		_, err := newRig(t, claims("acr", "loa1"), own, func(c *federation.Config) { c.ACRValues = values }).run(flow())
		if !errors.Is(err, federation.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = newRig(t, answer("error", "access_denied"), own).run(flow())
	if !errors.Is(err, federation.ErrRefused) {
		t.Errorf("refused: %v", err)
	}
}

// A code is of no use without the verifier of the browser that has begun.
func TestCodeOfAnotherBrowser(t *testing.T) {
	g := newRig(t, federationtest.Behavior{}, own)
	mine, theirs := flow(), flow()
	address, err := g.issuer.Begin(t.Context(), theirs)
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(g.provider.SignIn(address, "eve"))
	if err != nil {
		t.Fatal(err)
	}
	stolen := back.Query()
	stolen.Set("state", mine.State)
	_, err = g.issuer.Finish(t.Context(), mine, stolen)
	if !errors.Is(err, federation.ErrMismatch) {
		t.Errorf("got %v", err)
	}
}

// A provider that is down, or whose metadata cannot be right, is not available; it is
// asked again later.
func TestUnavailable(t *testing.T) {
	metadata := func(name string, value any) federationtest.Behavior {
		return federationtest.Behavior{Metadata: func(m map[string]any) { m[name] = value }}
	}
	for name, b := range map[string]federationtest.Behavior{
		"down":           {Down: true},
		"other issuer":   metadata("issuer", "https://evil.example"),
		"plain http":     metadata("token_endpoint", "http://login.example.com/token"),
		"no endpoint":    metadata("authorization_endpoint", ""),
		"script":         metadata("authorization_endpoint", "javascript:alert(1)"),
		"unsigned alone": metadata("id_token_signing_alg_values_supported", []string{"none", "HS256"}),
		"no secrets":     metadata("token_endpoint_auth_methods_supported", []string{"private_key_jwt"}),
	} {
		now := time.Now()
		g := newRig(t, b, own, func(c *federation.Config) { c.Now = func() time.Time { return now } })
		_, err := g.issuer.Begin(t.Context(), flow())
		if !errors.Is(err, federation.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		g.provider.Behave(federationtest.Behavior{})
		now = now.Add(5 * time.Second)
		_, err = g.run(flow())
		if err != nil {
			t.Errorf("%s: when it is back: %v", name, err)
		}
		// From then on, its metadata are known.
		g.provider.Behave(federationtest.Behavior{Down: true})
		now = now.Add(2 * time.Hour)
		_, err = g.issuer.Begin(t.Context(), flow())
		if err != nil {
			t.Errorf("%s: when it is down again: %v", name, err)
		}
	}
}

// Claims come from the ID Token, or else from userinfo, if that is about the same
// person; only a verified e-mail address is one.
func TestClaim(t *testing.T) {
	post := func(m map[string]any) { m["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"} }
	tests := map[string]struct {
		behavior federationtest.Behavior
		claim    string
		want     string
		fails    bool
	}{
		"sub":                    {federationtest.Behavior{}, "sub", "sub-of-anna", false},
		"in the ID Token":        {federationtest.Behavior{Metadata: post}, "preferred_username", "anna", false},
		"nowhere":                {federationtest.Behavior{}, "customer", "", false},
		"in userinfo":            {federationtest.Behavior{UserInfo: map[string]any{"customer": "4711"}}, "customer", "4711", false},
		"about somebody else":    {federationtest.Behavior{UserInfo: map[string]any{"customer": "4711", "sub": "sub-of-ben"}}, "customer", "", true},
		"no text":                {federationtest.Behavior{UserInfo: map[string]any{"customer": 4711}}, "customer", "", false},
		"too long":               {federationtest.Behavior{UserInfo: map[string]any{"customer": strings.Repeat("4", 256)}}, "customer", "", true},
		"e-mail":                 {federationtest.Behavior{UserInfo: map[string]any{"email": "anna@example.com", "email_verified": true}}, "email", "anna@example.com", false},
		"e-mail not verified":    {federationtest.Behavior{UserInfo: map[string]any{"email": "anna@example.com"}}, "email", "", false},
		"e-mail from elsewhere":  {federationtest.Behavior{Claims: func(c map[string]any) { c["email"] = "anna@example.com" }, UserInfo: map[string]any{"email_verified": true}}, "email", "", false},
		"e-mail in the ID Token": {federationtest.Behavior{Claims: func(c map[string]any) { maps.Copy(c, map[string]any{"email": "a@example.com", "email_verified": true}) }}, "email", "a@example.com", false},
	}
	for name, test := range tests {
		got, err := newRig(t, test.behavior, own).run(flow())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		value, err := got.Claim(t.Context(), test.claim)
		if value != test.want || (err != nil) != test.fails {
			t.Errorf("%s: got %q, %v", name, value, err)
		}
	}
}

func TestConfigMistakes(t *testing.T) {
	for want, c := range map[string]federation.Config{
		"name 'Bank'":        {Name: "Bank", Issuer: "https://login.example.com", ClientID: "a"},
		"issuer is required": {Name: "bank", ClientID: "a"},
		"must be https":      {Name: "bank", Issuer: "http://login.example.com", ClientID: "a"},
		"plain https URL":    {Name: "bank", Issuer: "https://login.example.com?x", ClientID: "a"},
		"client_id":          {Name: "bank", Issuer: "https://login.example.com"},
		"client secret":      {Name: "bank", Issuer: "https://login.example.com", ClientID: "a"},
	} {
		_, err := federation.New(c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
