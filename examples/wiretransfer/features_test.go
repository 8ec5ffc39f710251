package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// directory is who signs login_hint_tokens.
type directory struct{ signer jose.Signer }

// newDirectory makes keys and tells the configuration where the public ones are.
func newDirectory(t *testing.T) *directory {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := jose.JSONWebKey{Key: private, KeyID: "d1", Algorithm: "ES256", Use: "sig"}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "directory.jwks")
	err = os.WriteFile(file, text, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DIRECTORY_KEYS", file)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &directory{signer: signer}
}

// token is a login_hint_token for a customer.
func (d *directory) token(t *testing.T, audience, customer string, life time.Duration) string {
	t.Helper()
	now := time.Now()
	text, err := jwt.Signed(d.signer).Claims(map[string]any{
		"iss": "https://directory.example.com", "aud": audience, "sub": customer,
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(life).Unix(),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// idToken is one that the provider has issued for alice to a client.
func (w *world) idToken(t *testing.T, clientID string) string {
	t.Helper()
	client, err := ciba.NewClient(ciba.Config{Issuer: w.provider, ClientID: clientID, Auth: ciba.ClientSecretBasic(os.Getenv("GATEWAY_SECRET"))})
	if err != nil {
		t.Fatal(err)
	}
	message := "For a hint of " + clientID
	req := ciba.Request{LoginHint: alice, BindingMessage: message}
	if clientID == "coded" {
		req.UserCode = customerPassword
	}
	pending, err := client.Start(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	w.decide(t, message, decisionApprove)
	tokens, err := client.Wait(t.Context(), pending, ciba.Check{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tokens.IDToken
}

// accessClaims are the claims of the access token that the upstream got.
func accessClaims(t *testing.T, a arrival, scheme string) map[string]any {
	t.Helper()
	token, ok := strings.CutPrefix(a.header.Get("Authorization"), scheme+" ")
	if !ok {
		t.Fatalf("the token came as %.20q, want %s", a.header.Get("Authorization"), scheme)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	err = parsed.UnsafeClaimsWithoutVerification(&claims)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestWhoIsAskedAndHow goes through the parameters that the gateway can send besides
// the customer's name, with this project's provider at the other end.
func TestWhoIsAskedAndHow(t *testing.T) {
	d := newDirectory(t)
	w := newWorldOf(t, "features.Caddyfile")
	own, others := w.idToken(t, "gateway"), w.idToken(t, "coded")
	header := func(name, value string) http.Header {
		h := http.Header{"Content-Type": {"application/json"}}
		if value != "" {
			h.Set(name, value)
		}
		return h
	}
	rows := []struct {
		name, path string
		header     http.Header
		status     int
		problem    string
		audience   any
	}{
		{name: "user code", path: "/code", header: header("X-User-Code", customerPassword), status: 201},
		{name: "wrong user code", path: "/code", header: header("X-User-Code", "0000"), status: 403, problem: "approval-unavailable"},
		{name: "no user code", path: "/code", header: header("", ""), status: 403, problem: "approval-unavailable"},
		{name: "login hint token", path: "/hint-token", header: header("X-Hint", d.token(t, w.provider, alice, time.Hour)), status: 201},
		{name: "login hint token that is over", path: "/hint-token", header: header("X-Hint", d.token(t, w.provider, alice, -10*time.Minute)), status: 403, problem: "approval-unavailable"},
		{name: "login hint token of a stranger", path: "/hint-token", header: header("X-Hint", d.token(t, w.provider, "mallory", time.Hour)), status: 403, problem: "approval-unavailable"},
		{name: "login hint token for another provider", path: "/hint-token", header: header("X-Hint", d.token(t, "https://elsewhere.example.com", alice, time.Hour)), status: 500, problem: "gateway-misconfigured"},
		{name: "no login hint token", path: "/hint-token", header: header("", ""), status: 403, problem: "approval-unavailable"},
		{name: "ID Token", path: "/id-token", header: header("X-Hint", own), status: 201},
		{name: "ID Token of another client", path: "/id-token", header: header("X-Hint", others), status: 500, problem: "gateway-misconfigured"},
		{name: "no ID Token", path: "/id-token", header: header("X-Hint", "ey.ey.ey"), status: 500, problem: "gateway-misconfigured"},
		{name: "resource", path: "/resource", header: header("", ""), status: 201, audience: "https://accounts.example.com"},
		{name: "resource that no scope is for", path: "/nowhere", header: header("", ""), status: 500, problem: "gateway-misconfigured"},
	}
	client := protocols()["h1"]
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), scenarioTime)
			defer cancel()
			n := fmt.Sprintf("f%02d", i)
			h := w.send(ctx, client, request{method: "POST", target: row.path + "/do/book?n=" + n, body: "{}", header: row.header})
			if row.status == http.StatusCreated {
				w.decide(t, "Do "+n, decisionApprove)
			}
			a, err := h.wait(ctx)
			if err != nil {
				t.Fatal(err)
			}
			arrived := w.upstream.arrivals("?n=" + n)
			if row.problem != "" {
				name, _, err := a.problem()
				if err != nil || a.status != row.status || name != row.problem || len(arrived) != 0 {
					t.Errorf("got %d %s (%v), want %d %s; the upstream was reached %d times", a.status, name, err, row.status, row.problem, len(arrived))
				}
				return
			}
			if a.status != row.status || len(arrived) != 1 {
				t.Fatalf("got %d: %s; the upstream was reached %d times", a.status, a.body, len(arrived))
			}
			if claims := accessClaims(t, arrived[0], "Bearer"); row.audience != nil && !isFor(claims["aud"], row.audience, w.provider) {
				t.Errorf("the access token is for %v, want %v and userinfo", claims["aud"], row.audience)
			}
		})
	}
}

// isFor reports whether an aud claim names just these.
func isFor(claim any, want ...any) bool {
	list, ok := claim.([]any)
	return ok && slices.Equal(list, want)
}
