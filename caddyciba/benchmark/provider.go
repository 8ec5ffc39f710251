package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	clientSecret = "a-secret-of-the-benchmark-alone"
	lifetime     = 10 * time.Minute
)

// provider is a CIBA OpenID Provider in the driver's own process, so that one clock
// tells when a customer approves and when the upstream gets the request. It pings.
type provider struct {
	issuer string
	signer jose.Signer
	key    *ecdsa.PrivateKey
	server *http.Server
	pings  *http.Client

	mu         sync.Mutex
	requests   map[string]*question // by auth_req_id
	byCustomer map[string]*question
}

// question is one authentication request.
type question struct {
	id, client, customer, token string
	details                     string
	approved                    time.Time
}

func startProvider(workers int) (*provider, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &provider{
		issuer: "http://" + listener.Addr().String(), signer: signer, key: key,
		requests: make(map[string]*question), byCustomer: make(map[string]*question),
		pings: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers}, Timeout: time.Minute},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /jwks", p.jwks)
	mux.HandleFunc("POST /backchannel", p.backchannel)
	mux.HandleFunc("POST /token", p.tokens)
	p.server = &http.Server{Handler: mux}
	go func() { _ = p.server.Serve(listener) }()
	return p, nil
}

func (p *provider) stop() { _ = p.server.Close() }

func (p *provider) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": p.issuer, "jwks_uri": p.issuer + "/jwks", "token_endpoint": p.issuer + "/token",
		"backchannel_authentication_endpoint":        p.issuer + "/backchannel",
		"backchannel_token_delivery_modes_supported": []string{"poll", "ping"},
		"grant_types_supported":                      []string{"urn:openid:params:grant-type:ciba"},
		"token_endpoint_auth_methods_supported":      []string{"client_secret_basic"},
		"id_token_signing_alg_values_supported":      []string{"ES256"},
		"subject_types_supported":                    []string{"public"},
		"response_types_supported":                   []string{},
	})
}

func (p *provider) jwks(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
}

func (p *provider) backchannel(w http.ResponseWriter, r *http.Request) {
	client, _, _ := r.BasicAuth()
	q := &question{
		id: rand.Text() + rand.Text(), client: client, customer: r.PostFormValue("login_hint"),
		token: r.PostFormValue("client_notification_token"), details: r.PostFormValue("authorization_details"),
	}
	p.mu.Lock()
	p.requests[q.id], p.byCustomer[q.customer] = q, q
	p.mu.Unlock()
	// The interval is long: what wakes the gateway is the ping.
	answer(w, http.StatusOK, map[string]any{"auth_req_id": q.id, "expires_in": int(lifetime.Seconds()), "interval": 60})
}

func (p *provider) tokens(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	q := p.requests[r.PostFormValue("auth_req_id")]
	approved := q != nil && !q.approved.IsZero()
	p.mu.Unlock()
	if !approved {
		answer(w, http.StatusBadRequest, map[string]any{"error": "authorization_pending"})
		return
	}
	now := time.Now()
	token, err := jwt.Signed(p.signer).Claims(map[string]any{
		"iss": p.issuer, "aud": q.client, "sub": q.customer, "iat": now.Unix(), "auth_time": now.Unix(),
		"exp": now.Add(time.Minute).Unix(), "urn:openid:params:jwt:claim:auth_req_id": q.id,
	}).Serialize()
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]any{"error": "server_error"})
		return
	}
	granted := map[string]any{"access_token": "token-of-" + q.customer, "token_type": "Bearer", "expires_in": 60, "id_token": token}
	if q.details != "" {
		granted["authorization_details"] = json.RawMessage(q.details)
	}
	answer(w, http.StatusOK, granted)
}

func answer(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// asked returns how many customers were asked.
func (p *provider) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

// approve lets the customer approve, and tells the gateway.
func (p *provider) approve(ctx context.Context, gateway, customer string) error {
	p.mu.Lock()
	q := p.byCustomer[customer]
	if q == nil {
		p.mu.Unlock()
		return fmt.Errorf("%s was never asked", customer)
	}
	q.approved = time.Now()
	p.mu.Unlock()
	body, err := json.Marshal(map[string]string{"auth_req_id": q.id})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/.ciba/ping/"+q.client, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+q.token)
	res, err := p.pings.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the ping was answered %s", res.Status)
	}
	return nil
}

// approvedAt returns when a customer has approved.
func (p *provider) approvedAt(customer string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.byCustomer[customer]
	if q == nil {
		return time.Time{}
	}
	return q.approved
}
