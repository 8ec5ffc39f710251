package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// newLiar starts an OpenID Provider that approves everything at once, and always
// with an ID Token that must not count: asked for alice it is about mallory,
// asked for anybody else it is made out to another client. It is otherwise in
// order: signed with the key that the provider publishes, of the right issuer
// and time. It returns the issuer URL.
func newLiar(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256,
		Key:       jose.JSONWebKey{Key: key, KeyID: "1"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var issuer string
	mux := http.NewServeMux()
	answer := func(pattern string, body func(r *http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			err := json.NewEncoder(w).Encode(body(r))
			if err != nil {
				t.Error(err)
			}
		})
	}
	answer("GET /.well-known/openid-configuration", func(*http.Request) any {
		return map[string]any{
			"issuer":                              issuer,
			"jwks_uri":                            issuer + "/jwks",
			"token_endpoint":                      issuer + "/token",
			"backchannel_authentication_endpoint": issuer + "/backchannel",
			"backchannel_token_delivery_modes_supported": []string{"poll"},
			"grant_types_supported":                      []string{"urn:openid:params:grant-type:ciba"},
			"token_endpoint_auth_methods_supported":      []string{"client_secret_basic"},
			"id_token_signing_alg_values_supported":      []string{"ES256"},
			"response_types_supported":                   []string{},
			"subject_types_supported":                    []string{"public"},
		}
	})
	answer("GET /jwks", func(*http.Request) any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}}
	})
	answer("POST /backchannel", func(r *http.Request) any {
		id := r.PostFormValue("login_hint") + "-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
		return map[string]any{"auth_req_id": id, "expires_in": 60, "interval": 1}
	})
	answer("POST /token", func(r *http.Request) any {
		now := time.Now()
		subject, _, _ := strings.Cut(r.PostFormValue("auth_req_id"), "-")
		audience := "another-gateway"
		if subject == alice {
			subject, audience = "mallory", "gateway"
		}
		idToken, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": issuer, "sub": subject, "aud": audience,
			"iat": now.Unix(), "auth_time": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		}).Serialize()
		if err != nil {
			t.Error(err)
		}
		return map[string]any{"access_token": "token-that-must-not-count", "token_type": "Bearer", "expires_in": 60, "id_token": idToken}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	issuer = server.URL
	return issuer
}
