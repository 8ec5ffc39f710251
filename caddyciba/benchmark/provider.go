package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
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

// How the provider tells the gateway of approvals.
const (
	deliverPoll = "poll" // polls are held until there is an approval
	deliverPing = "ping"
	deliverPush = "push"
)

const (
	clientSecret = "a-secret-of-the-benchmark-alone"
	lifetime     = 10 * time.Minute
)

// provider is a CIBA OpenID Provider in the driver's own process, so that one clock
// tells when a customer approves and when the upstream gets the request.
type provider struct {
	issuer   string
	delivery string
	signer   jose.Signer
	key      *ecdsa.PrivateKey
	server   *http.Server
	notices  *http.Client

	mu         sync.Mutex
	requests   map[string]*question // by auth_req_id
	byCustomer map[string]*question
}

// question is one authentication request.
type question struct {
	id, client, customer, token string
	details                     string
	approved                    time.Time
	decided                     chan struct{} // closed with the approval
}

func startProvider(delivery string, workers int) (*provider, error) {
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
		issuer: "http://" + listener.Addr().String(), delivery: delivery, signer: signer, key: key,
		requests: make(map[string]*question), byCustomer: make(map[string]*question),
		notices: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers}, Timeout: time.Minute},
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
		"backchannel_token_delivery_modes_supported": []string{deliverPoll, deliverPing, deliverPush},
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
		decided: make(chan struct{}),
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
	p.mu.Unlock()
	if q == nil || !q.isDecided(r.Context(), r.Header.Get("Prefer")) {
		answer(w, http.StatusBadRequest, map[string]any{"error": "authorization_pending"})
		return
	}
	granted, err := p.grant(q)
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]any{"error": "server_error"})
		return
	}
	answer(w, http.StatusOK, granted)
}

// isDecided reports whether a customer has approved, after it has waited for it if
// the client prefers that.
func (q *question) isDecided(ctx context.Context, prefer string) bool {
	var seconds int
	_, err := fmt.Sscanf(prefer, "wait=%d", &seconds)
	if err != nil {
		seconds = 0
	}
	timer := time.NewTimer(time.Duration(seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-q.decided:
		return true
	default:
	}
	select {
	case <-q.decided:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// grant makes what a client gets for an approval.
func (p *provider) grant(q *question) (map[string]any, error) {
	now := time.Now()
	access := "token-of-" + q.customer
	claims := map[string]any{
		"iss": p.issuer, "aud": q.client, "sub": q.customer, "iat": now.Unix(), "auth_time": now.Unix(),
		"exp": now.Add(time.Minute).Unix(), "urn:openid:params:jwt:claim:auth_req_id": q.id,
	}
	if p.delivery == deliverPush {
		sum := sha256.Sum256([]byte(access))
		claims["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	}
	token, err := jwt.Signed(p.signer).Claims(claims).Serialize()
	if err != nil {
		return nil, err
	}
	granted := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": int(lifetime.Seconds()), "id_token": token}
	if q.details != "" {
		granted["authorization_details"] = json.RawMessage(q.details)
	}
	return granted, nil
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
	close(q.decided)
	if p.delivery == deliverPoll {
		return nil
	}
	notice := make(map[string]any)
	if p.delivery == deliverPush {
		var err error
		notice, err = p.grant(q)
		if err != nil {
			return err
		}
	}
	notice["auth_req_id"] = q.id
	body, err := json.Marshal(notice)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/.ciba/"+p.delivery+"/"+q.client, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+q.token)
	res, err := p.notices.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the notice was answered %s", res.Status)
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
