package interop_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// suiteOP plays the providers of the conformance suite, one for each run of a
// module. What belongs to a client certificate is on a server of its own.
type suiteOP struct {
	t             *testing.T
	plain, mtls   *httptest.Server
	known         *credentials
	key, otherKey *rsa.PrivateKey
	runs          map[string]*run // by alias; complete before Caddy starts
}

// A run is one module in one variant.
type run struct {
	op     *suiteOP
	module *module
	alias  string

	method string // private_key_jwt or mtls
	mode   string // poll or ping
	notify string // our notification endpoint

	mu        sync.Mutex
	mistakes  []string // of the gateway
	jtis      map[string]bool
	started   int
	polls     []time.Time // when they came
	answered  []time.Time // when they were answered
	pause     time.Duration
	pinged    bool
	pingCode  int
	request   map[string]any // the claims of the signed request
	resources int
	lastCall  time.Time
}

func newSuiteOP(t *testing.T, known *credentials) *suiteOP {
	t.Helper()
	op := &suiteOP{t: t, known: known, runs: make(map[string]*run)}
	var err error
	op.key, err = rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	op.otherKey, err = rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	op.plain = op.serve(tls.NoClientCert, "/test/a/", map[string]func(*run, http.ResponseWriter, *http.Request){
		".well-known/openid-configuration": (*run).discovery,
		"jwks":                             (*run).jwks,
		"backchannel":                      (*run).backchannel,
	})
	op.mtls = op.serve(tls.RequestClientCert, "/test-mtls/a/", map[string]func(*run, http.ResponseWriter, *http.Request){
		"backchannel":                (*run).backchannel,
		"token":                      (*run).token,
		"open-banking/v1.1/accounts": (*run).accounts,
	})
	return op
}

// serve starts a server that finds the run in the path.
func (op *suiteOP) serve(certificates tls.ClientAuthType, prefix string, endpoints map[string]func(*run, http.ResponseWriter, *http.Request)) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, _ := strings.CutPrefix(r.URL.Path, prefix)
		alias, endpoint, _ := strings.Cut(rest, "/")
		current, handler := op.runs[alias], endpoints[endpoint]
		if current == nil || handler == nil {
			op.t.Errorf("a call to %s, which is no endpoint", r.URL.Path)
			http.NotFound(w, r)
			return
		}
		if endpoint != "jwks" && !strings.HasPrefix(endpoint, ".well-known") {
			current.mu.Lock()
			current.lastCall = time.Now()
			current.mu.Unlock()
		}
		handler(current, w, r)
	}))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{op.known.serverCert}, ClientAuth: certificates, MinVersion: tls.VersionTLS13,
	}
	server.StartTLS()
	op.t.Cleanup(server.Close)
	return server
}

// issuer ends with a slash, as those of the suite do.
func (r *run) issuer() string { return r.op.plain.URL + "/test/a/" + r.alias + "/" }

func (r *run) mtlsBase() string { return r.op.mtls.URL + "/test-mtls/a/" + r.alias + "/" }

func (r *run) discovery(w http.ResponseWriter, _ *http.Request) {
	base := r.issuer()
	send(w, 200, map[string]any{
		"issuer":                              base,
		"jwks_uri":                            base + "jwks",
		"token_endpoint":                      base + "token",
		"backchannel_authentication_endpoint": base + "backchannel",
		"backchannel_token_delivery_modes_supported":                      []string{"poll", "ping"},
		"backchannel_authentication_request_signing_alg_values_supported": []string{"PS256", "ES256"},
		"backchannel_user_code_parameter_supported":                       false,
		"grant_types_supported":                                           []string{"urn:openid:params:grant-type:ciba"},
		"token_endpoint_auth_methods_supported":                           []string{"private_key_jwt", "tls_client_auth"},
		"token_endpoint_auth_signing_alg_values_supported":                []string{"PS256", "ES256"},
		"id_token_signing_alg_values_supported":                           []string{"PS256", "ES256"},
		"tls_client_certificate_bound_access_tokens":                      true,
		"scopes_supported":                                                []string{"openid", "accounts"},
		"subject_types_supported":                                         []string{"public"},
		"response_types_supported":                                        []string{},
		"mtls_endpoint_aliases": map[string]any{
			"token_endpoint":                      r.mtlsBase() + "token",
			"backchannel_authentication_endpoint": r.mtlsBase() + "backchannel",
		},
	})
}

func (r *run) jwks(w http.ResponseWriter, _ *http.Request) {
	send(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: r.op.key.Public(), KeyID: "suite-1", Algorithm: "PS256", Use: "sig"},
		{Key: r.op.otherKey.Public(), KeyID: "rsa-none-alt-arg", Use: "sig"},
	}})
}

// backchannel takes an authentication request.
func (r *run) backchannel(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started++
	if r.started > 1 {
		r.mistake("the request was made %d times", r.started)
	}
	r.judgeCaller(req, r.issuer(), r.issuer()+"backchannel", r.mtlsBase()+"backchannel")
	if onMTLS := req.TLS != nil && strings.HasPrefix(req.URL.Path, "/test-mtls/"); onMTLS != (r.method == "mtls") {
		r.mistake("the request came to the wrong endpoint")
	}
	r.judgeRequest(req)
	status, answer := 200, map[string]any{"auth_req_id": r.authReqID(), "expires_in": 180}
	if r.module.interval > 0 {
		answer["interval"] = r.module.interval
	}
	r.pause = time.Duration(max(5, r.module.interval)) * time.Second
	if r.module.interval > 0 {
		r.pause = time.Duration(r.module.interval) * time.Second
	}
	if r.module.start != nil {
		status = r.module.start(answer)
	}
	send(w, status, answer)
	if r.mode == "ping" && status == 200 && !r.module.silent {
		token, _ := r.request["client_notification_token"].(string)
		go r.ping(token)
	}
}

// authReqID is the same for the whole run.
func (r *run) authReqID() string {
	return "auth-req-id-of." + r.alias + "-1c266114-a1be-4252-8ad1-04986c5b9ac1"
}

// token takes a poll.
func (r *run) token(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.judgeCaller(req, r.issuer(), r.issuer()+"token", r.mtlsBase()+"token")
	r.judgePoll(req, now)
	r.polls = append(r.polls, now)
	defer func() { r.answered = append(r.answered, time.Now()) }()
	code := r.module.poll(r, len(r.polls))
	if code == "slow_down" {
		r.pause += 5 * time.Second
	}
	if code != "" {
		send(w, 400, map[string]any{"error": code})
		return
	}
	answer := map[string]any{
		"access_token": accessToken, "token_type": "Bearer", "expires_in": 300, "scope": "openid accounts",
		"id_token": r.idToken(),
	}
	if r.module.tokens != nil {
		r.module.tokens(answer)
	}
	send(w, 200, answer)
}

const accessToken = "access-token-of-the-suite-4Zq8Ck1yVb"

// accounts is the resource behind the gateway.
func (r *run) accounts(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resources++
	r.judgeCertificate(req)
	if got := req.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+accessToken {
		r.mistake("the resource was called with the wrong token")
	}
	if req.Method != http.MethodGet || req.URL.RawQuery != "" {
		r.mistake("the resource was called by %s %s", req.Method, req.URL)
	}
	send(w, 200, map[string]any{"accounts": []string{"DE02"}})
}

// ping notifies the gateway, a moment after its request was answered, and says that
// it has been pinged when it has its answer.
func (r *run) ping(token string) {
	time.Sleep(pingDelay)
	if r.module.pingToken != "" {
		token = r.module.pingToken
	}
	body := strings.NewReader(`{"auth_req_id":"` + r.authReqID() + `"}`)
	req, err := http.NewRequest(http.MethodPost, r.notify, body)
	if err != nil {
		r.op.t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		r.op.t.Errorf("%s: pinging: %v", r.alias, err)
		return
	}
	_ = resp.Body.Close()
	// The suite counts a client as pinged only now.
	time.Sleep(50 * time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pinged, r.pingCode = true, resp.StatusCode
}

// pingDelay is ten seconds in the suite.
const pingDelay = time.Second

func send(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
