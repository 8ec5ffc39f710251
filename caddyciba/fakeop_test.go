package caddyciba

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// fakeOP is a small OpenID Provider with CIBA in poll mode. Tests decide what
// its customers do.
type fakeOP struct {
	*httptest.Server
	t      testing.TB
	key    *ecdsa.PrivateKey
	signer jose.Signer

	mu       sync.Mutex
	requests []*fakeRequest
	// decide is asked at each poll; nil leaves everything pending.
	decide func(*fakeRequest) fakeDecision
	// claims may change an ID Token before it is signed.
	claims func(map[string]any)
	// forge may make another token of an ID Token.
	forge func(op *fakeOP, token string) string
	// refuseStart is an OAuth error code for every new request.
	refuseStart string
	// refuse is such a code for some of them.
	refuse func(url.Values) string
	down   bool
	// metadata are further members of the discovery document, or others.
	metadata map[string]any
	// granted are the authorization_details of tokens; empty for those that were
	// asked for.
	granted string
	// grant says so for each request.
	grant func(*fakeRequest) string
}

// fakeRequest is one authentication request.
type fakeRequest struct {
	id    string
	form  url.Values
	polls int
}

type fakeDecision int

const (
	pending fakeDecision = iota
	approve
	deny
	expire
)

const (
	testClientID     = "gateway"
	testClientSecret = "gateway-secret-for-tests"
)

func newFakeOP(t testing.TB) *fakeOP {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256,
		Key:       jose.JSONWebKey{Key: key, KeyID: "k1", Algorithm: "ES256", Use: "sig"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	op := &fakeOP{t: t, key: key, signer: signer}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", op.discovery)
	mux.HandleFunc("GET /jwks", op.jwks)
	mux.HandleFunc("POST /backchannel", op.backchannel)
	mux.HandleFunc("POST /token", op.token)
	op.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op.mu.Lock()
		down := op.down
		op.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(op.Close)
	return op
}

// setDecision makes every customer decide in the same way from now on.
func (op *fakeOP) setDecision(d fakeDecision) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.decide = func(*fakeRequest) fakeDecision { return d }
}

// decideFor makes one customer decide, and leaves all others undecided.
func (op *fakeOP) decideFor(id string, d fakeDecision) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.decide = func(r *fakeRequest) fakeDecision {
		if r.id == id {
			return d
		}
		return pending
	}
}

// started returns the requests so far.
func (op *fakeOP) started() []*fakeRequest {
	op.mu.Lock()
	defer op.mu.Unlock()
	return append([]*fakeRequest(nil), op.requests...)
}

// waitStarted waits until n requests have come in.
func (op *fakeOP) waitStarted(n int) {
	op.t.Helper()
	eventually(op.t, fmt.Sprintf("%d requests at the provider", n), func() bool { return len(op.started()) >= n })
}

func (op *fakeOP) discovery(w http.ResponseWriter, _ *http.Request) {
	document := map[string]any{
		"issuer":                              op.URL,
		"jwks_uri":                            op.URL + "/jwks",
		"token_endpoint":                      op.URL + "/token",
		"backchannel_authentication_endpoint": op.URL + "/backchannel",
		"backchannel_token_delivery_modes_supported": []string{"poll", "ping", "push"},
		"grant_types_supported":                      []string{"urn:openid:params:grant-type:ciba"},
		"token_endpoint_auth_methods_supported":      []string{"client_secret_basic", "private_key_jwt"},
		"id_token_signing_alg_values_supported":      []string{"ES256"},
		"subject_types_supported":                    []string{"public"},
		"response_types_supported":                   []string{},
		"scopes_supported":                           []string{"openid", "payments"},
	}
	maps.Copy(document, op.metadata)
	reply(w, http.StatusOK, document)
}

func (op *fakeOP) jwks(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: op.key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"},
	}})
}

func (op *fakeOP) authenticated(w http.ResponseWriter, r *http.Request) bool {
	id, secret, ok := r.BasicAuth()
	if ok && id == testClientID && secret == testClientSecret {
		return true
	}
	assertion := r.PostFormValue("client_assertion")
	if assertion != "" {
		token, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.ES256})
		if err == nil {
			var claims jwt.Claims
			err = token.Claims(op.key.Public(), &claims)
			if err == nil && claims.Subject == testClientID {
				return true
			}
		}
	}
	reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
	return false
}

func (op *fakeOP) backchannel(w http.ResponseWriter, r *http.Request) {
	if !op.authenticated(w, r) {
		return
	}
	err := r.ParseForm()
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_request"})
		return
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.refuseStart != "" {
		reply(w, http.StatusBadRequest, map[string]any{"error": op.refuseStart})
		return
	}
	if op.refuse != nil {
		code := op.refuse(r.PostForm)
		if code != "" {
			reply(w, http.StatusBadRequest, map[string]any{"error": code})
			return
		}
	}
	request := &fakeRequest{id: rand.Text() + rand.Text(), form: r.PostForm}
	op.requests = append(op.requests, request)
	reply(w, http.StatusOK, map[string]any{"auth_req_id": request.id, "expires_in": 120, "interval": 1})
}

func (op *fakeOP) token(w http.ResponseWriter, r *http.Request) {
	if !op.authenticated(w, r) {
		return
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	var request *fakeRequest
	for _, candidate := range op.requests {
		if candidate.id == r.PostFormValue("auth_req_id") {
			request = candidate
		}
	}
	if request == nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	request.polls++
	decision := pending
	if op.decide != nil {
		decision = op.decide(request)
	}
	switch decision {
	case pending:
		reply(w, http.StatusBadRequest, map[string]any{"error": "authorization_pending"})
	case deny:
		reply(w, http.StatusBadRequest, map[string]any{"error": "access_denied"})
	case expire:
		reply(w, http.StatusBadRequest, map[string]any{"error": "expired_token"})
	case approve:
		answer := map[string]any{
			"access_token": "token-of-" + request.form.Get("login_hint"),
			"token_type":   "Bearer",
			"expires_in":   300,
			"id_token":     op.idToken(request),
		}
		details := cmp.Or(op.granted, request.form.Get("authorization_details"))
		if op.grant != nil {
			details = op.grant(request)
		}
		if details != "" {
			answer["authorization_details"] = json.RawMessage(details)
		}
		reply(w, http.StatusOK, answer)
	}
}

func (op *fakeOP) idToken(request *fakeRequest) string {
	now := time.Now()
	claims := map[string]any{
		"iss":       op.URL,
		"aud":       testClientID,
		"sub":       request.form.Get("login_hint"),
		"iat":       now.Unix(),
		"auth_time": now.Unix(),
		"exp":       now.Add(5 * time.Minute).Unix(),
		"urn:openid:params:jwt:claim:auth_req_id": request.id,
	}
	acr := strings.Fields(request.form.Get("acr_values"))
	if len(acr) > 0 {
		claims["acr"] = acr[0]
	}
	if op.claims != nil {
		op.claims(claims)
	}
	token, err := jwt.Signed(op.signer).Claims(claims).Serialize()
	if err != nil {
		op.t.Errorf("signing ID Token: %v", err)
	}
	if op.forge != nil {
		return op.forge(op, token)
	}
	return token
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// eventually waits for something that other goroutines bring about.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	within(t, 20*time.Second, what, done)
}

// within waits so long for something.
func within(t testing.TB, patience time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
