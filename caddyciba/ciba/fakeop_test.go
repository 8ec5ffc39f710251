package ciba

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	testClient    = "gateway"
	testSubject   = "248289761001"
	testAuthReqID = "1c266114-a1be-4252-8ad1-04986c5b9ac1"
	testAccess    = "G5kXH2wHvUra0sHlDy1iTkDJgsgUO1bN"
)

// testKey signs for every fake provider: making keys is what takes time.
var testKey = newECKey("sig-1")

func newECKey(kid string) jose.JSONWebKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: kid, Use: "sig", Algorithm: "ES256"}
}

// call is one request that the fake provider received.
type call struct {
	at     time.Time
	path   string
	header http.Header
	form   url.Values
}

// fakeOP is a provider whose every answer a test can replace.
type fakeOP struct {
	issuer string

	mu       sync.Mutex
	calls    []call
	handlers map[string]http.HandlerFunc
	polls    []http.HandlerFunc // one for each poll, the last one for all later ones
}

// newFakeOP returns a provider that approves at the first poll.
func newFakeOP(issuer string) *fakeOP {
	op := &fakeOP{issuer: issuer}
	op.handlers = map[string]http.HandlerFunc{
		"/.well-known/openid-configuration": func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, 200, op.metadata()) },
		"/jwks":                             sends(200, map[string]any{"keys": []any{testKey.Public()}}),
		"/backchannel":                      sends(200, map[string]any{"auth_req_id": testAuthReqID, "expires_in": 120, "interval": 5}),
		"/revoke":                           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
	}
	op.polls = []http.HandlerFunc{op.approve(nil)}
	return op
}

func (op *fakeOP) metadata() map[string]any {
	return map[string]any{
		"issuer":                              op.issuer,
		"backchannel_authentication_endpoint": op.issuer + "/backchannel",
		"token_endpoint":                      op.issuer + "/token",
		"jwks_uri":                            op.issuer + "/jwks",
		"revocation_endpoint":                 op.issuer + "/revoke",
		"backchannel_token_delivery_modes_supported": []string{"poll"},
		"grant_types_supported":                      []string{grantType},
		"authorization_details_types_supported":      []string{"wire_transfer"},
	}
}

// on replaces the answers of a path.
func (op *fakeOP) on(path string, h http.HandlerFunc) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.handlers[path] = h
}

// onPolls replaces the answers to polls.
func (op *fakeOP) onPolls(h ...http.HandlerFunc) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.polls = h
}

func (op *fakeOP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	path := r.URL.Path
	op.mu.Lock()
	op.calls = append(op.calls, call{at: time.Now(), path: path, header: r.Header.Clone(), form: r.PostForm})
	h := op.handlers[path]
	if path == "/token" && h == nil {
		h = op.polls[0]
		if len(op.polls) > 1 {
			op.polls = op.polls[1:]
		}
	}
	op.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

// RoundTrip answers in memory, so that time in a synctest bubble can pass.
func (op *fakeOP) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	server := r.Clone(r.Context())
	if server.Body == nil {
		server.Body = http.NoBody
	}
	op.ServeHTTP(rec, server)
	err := r.Context().Err()
	if err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// seen returns the calls to a path.
func (op *fakeOP) seen(path string) []call {
	op.mu.Lock()
	defer op.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(op.calls), func(c call) bool { return c.path != path })
}

// claims are those of a good ID Token, issued now.
func (op *fakeOP) claims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": op.issuer, "sub": testSubject, "aud": testClient,
		"iat": now, "exp": now + 300, "auth_time": now, "acr": "phr", "amr": []string{"hwk", "user"},
	}
}

// approve answers with tokens. change, if not nil, works on the claims of the ID
// Token first.
func (op *fakeOP) approve(change func(map[string]any)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		claims := op.claims()
		if change != nil {
			change(claims)
		}
		sendJSON(w, 200, tokenAnswer(forge(testKey, "ES256", nil, claims)))
	}
}

func tokenAnswer(idToken string) map[string]any {
	return map[string]any{
		"access_token": testAccess, "token_type": "Bearer", "expires_in": 300, "id_token": idToken,
	}
}

// forge signs any claims with any header.
func forge(key jose.JSONWebKey, alg string, header, claims map[string]any) string {
	options := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for name, value := range header {
		options.ExtraHeaders[jose.HeaderKey(name)] = value
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(alg),
		Key:       jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID},
	}, options)
	if err != nil {
		panic(err)
	}
	token, err := signJSON(signer, maps.Clone(claims))
	if err != nil {
		panic(err)
	}
	return token
}

func sendJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func sends(status int, v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, status, v) }
}

func refuses(code string) http.HandlerFunc {
	return sends(400, map[string]any{"error": code, "error_description": "from the provider"})
}

// writes answers with exact bytes.
func writes(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// newTestClient returns a client of an in-memory provider.
func newTestClient(t *testing.T, change func(*Config)) (*Client, *fakeOP) {
	t.Helper()
	op := newFakeOP("https://id.example.com")
	cfg := Config{
		Issuer: op.issuer, ClientID: testClient, Auth: ClientSecretBasic("s3cret"),
		HTTPClient: &http.Client{Transport: op},
	}
	if change != nil {
		change(&cfg)
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, op
}

// start begins a request and fails the test if that fails.
func start(t *testing.T, c *Client) *Pending {
	t.Helper()
	p, err := c.Start(t.Context(), Request{LoginHint: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantCode fails the test unless err is an *Error with the code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if Code(err) != code {
		t.Fatalf("got error %v (code %q), want code %q", err, Code(err), code)
	}
}

// quiet is a log that nobody reads.
func quiet() *log.Logger {
	return log.New(io.Discard, "", 0)
}
