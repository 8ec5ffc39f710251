// Package federationtest is an OpenID Provider for tests of signing in elsewhere: the
// authorization code flow with PKCE, with a page on which a name is typed. It answers
// as it should, and in whichever wrong way a test asks for.
package federationtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The client of the provider.
const (
	ClientID     = "approvals"
	ClientSecret = "the client secret of the approvals app"
)

// Provider is an OpenID Provider on localhost.
type Provider struct {
	*httptest.Server

	t   testing.TB
	key *ecdsa.PrivateKey

	mu       sync.Mutex
	redirect string
	codes    map[string]grant
	behavior Behavior
	asked    []url.Values
}

// Behavior is how the provider differs from a right one. It may be nil or have nil
// fields.
type Behavior struct {
	// Metadata, Answer, Claims and Tokens change what is sent: the metadata, the
	// parameters with which the browser goes back, the claims of the ID Token, and
	// the answer of the token endpoint.
	Metadata func(map[string]any)
	Answer   func(url.Values)
	Claims   func(map[string]any)
	Tokens   func(map[string]any)

	// UserInfo are claims of the userinfo endpoint besides sub. Nil: there is none.
	UserInfo map[string]any

	// Key, if set, signs instead of the published one.
	Key any

	// Alg is the algorithm of Key.
	Alg jose.SignatureAlgorithm

	// Down answers 503 to everything.
	Down bool

	// SignedIn is when everybody has signed in, whatever was asked. Zero: now.
	SignedIn time.Time

	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// grant is what a code is good for.
type grant struct {
	subject, nonce, challenge string
}

// New starts a provider that ends with the test.
func New(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{t: t, codes: make(map[string]grant)}
	var err error
	p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.metadata)
	mux.HandleFunc("GET /jwks", p.keys)
	mux.HandleFunc("GET /authorize", p.form)
	mux.HandleFunc("POST /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /userinfo", p.userinfo)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.is().Down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// Expect sets the redirect URI of the client.
func (p *Provider) Expect(redirect string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redirect = redirect
}

// Behave sets how the provider differs from now on.
func (p *Provider) Behave(b Behavior) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behavior = b
}

func (p *Provider) is() Behavior {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.behavior
	if b.Now == nil {
		b.Now = time.Now
	}
	return b
}

// Asked are the parameters of the last request at the authorization endpoint.
func (p *Provider) Asked() url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 {
		return nil
	}
	return p.asked[len(p.asked)-1]
}

func (p *Provider) metadata(w http.ResponseWriter, _ *http.Request) {
	b := p.is()
	m := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/jwks",
		"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"}, "authorization_response_iss_parameter_supported": true,
	}
	if b.UserInfo != nil {
		m["userinfo_endpoint"] = p.URL + "/userinfo"
	}
	if b.Metadata != nil {
		b.Metadata(m)
	}
	p.json(w, m)
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.json(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
}

func (p *Provider) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	err := json.NewEncoder(w).Encode(v)
	if err != nil {
		p.t.Error(err)
	}
}

// form is the page of the provider.
func (p *Provider) form(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.URL.Query())
	p.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, `<!doctype html><title>Elsewhere</title><link rel="icon" href="data:,"><h1>Elsewhere</h1><form method="post" action="/authorize?%s">
		<input id="name" name="name"><button id="in">Sign in</button></form>`, html.EscapeString(r.URL.RawQuery))
}

// SignIn does what a browser does at the authorization endpoint: it opens the address
// and signs in there under a name. It returns the address that it is sent back to.
func (p *Provider) SignIn(address, name string) string {
	p.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	opened, err := client.Get(address)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = opened.Body.Close()
	response, err := client.PostForm(address, url.Values{"name": {name}})
	if err != nil {
		p.t.Fatal(err)
	}
	_ = response.Body.Close()
	back := response.Header.Get("Location")
	if back == "" {
		p.t.Fatalf("the provider has answered with %s", response.Status)
	}
	return back
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q, b := r.URL.Query(), p.is()
	p.mu.Lock()
	redirect := p.redirect
	p.mu.Unlock()
	if q.Get("client_id") != ClientID || q.Get("redirect_uri") != redirect || q.Get("response_type") != "code" ||
		q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") == "" || q.Get("state") == "" {
		p.t.Errorf("asked with %v", q)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = grant{subject: r.PostFormValue("name"), nonce: q.Get("nonce"), challenge: q.Get("code_challenge")}
	p.mu.Unlock()
	answer := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}
	if b.Answer != nil {
		b.Answer(answer)
	}
	http.Redirect(w, r, redirect+"?"+answer.Encode(), http.StatusSeeOther)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	b := p.is()
	id, secret, _ := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if id == "" {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	p.mu.Lock()
	g, found := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if id != ClientID || secret != ClientSecret || !found || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	now, signedIn := b.Now(), b.SignedIn
	if signedIn.IsZero() {
		signedIn = now
	}
	claims := map[string]any{
		"iss": p.URL, "aud": ClientID, "sub": "sub-of-" + g.subject, "nonce": g.nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"auth_time": signedIn.Unix(), "preferred_username": g.subject,
	}
	if b.Claims != nil {
		b.Claims(claims)
	}
	tokens := map[string]any{"access_token": "access " + g.subject, "token_type": "Bearer", "expires_in": 60, "id_token": p.sign(b, claims)}
	if b.Tokens != nil {
		b.Tokens(tokens)
	}
	p.json(w, tokens)
}

func (p *Provider) sign(b Behavior, claims map[string]any) string {
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "1"}}
	if b.Key != nil {
		key = jose.SigningKey{Algorithm: b.Alg, Key: b.Key}
	}
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return text
}

func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	var subject string
	_, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer access %s", &subject)
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	claims := map[string]any{"sub": "sub-of-" + subject}
	maps.Copy(claims, p.is().UserInfo)
	p.json(w, claims)
}
