package provider_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/caddyciba/gateway/idp/provider"
)

func decodeClaims(t testing.TB, token string) map[string]any {
	t.Helper()
	return decodePart(t, token, 1)
}

func decodePart(t testing.TB, token string, part int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", token)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	err = json.Unmarshal(data, &out)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// overHTTP serves the provider under the URL of a test server.
func overHTTP(t *testing.T, change func(*provider.Config)) (*world, *httptest.Server) {
	t.Helper()
	var w *world
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	w = newWorld(t, func(c *provider.Config) {
		c.Issuer = server.URL
		if change != nil {
			change(c)
		}
	})
	return w, server
}

// CIBA checklist I1, I2: go-oidc, which nobody here wrote, accepts our ID Tokens.
func TestGoOIDCVerifiesIDTokens(t *testing.T) {
	for _, alg := range []string{"ES256", "PS256", "EdDSA", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			w, server := overHTTP(t, func(c *provider.Config) { c.Clients[0].IDTokenSigningAlg = alg })
			op, err := oidc.NewProvider(t.Context(), server.URL)
			if err != nil {
				t.Fatal(err)
			}
			authReqID, id := w.start()
			w.mustApprove(id)
			tokens := w.poll("gateway", authReqID)
			tokens.want(t, 200, "")
			verifier := op.Verifier(&oidc.Config{ClientID: "gateway", Now: w.clock.Now})
			idToken, err := verifier.Verify(t.Context(), tokens.str("id_token"))
			if err != nil {
				t.Fatal(err)
			}
			err = idToken.VerifyAccessToken(tokens.str("access_token"))
			if err != nil {
				t.Errorf("at_hash: %v", err)
			}
			claims := decodeClaims(t, tokens.str("id_token"))
			if idToken.Subject != "sub-alice" || claims["aud"] != "gateway" || claims["acr"] != "urn:example:pwd" ||
				claims["auth_time"] != float64(w.clock.Now().Add(-time.Minute).Unix()) ||
				claims["urn:openid:params:jwt:claim:auth_req_id"] != authReqID ||
				claims["nonce"] != nil || claims["c_hash"] != nil || claims["s_hash"] != nil {
				t.Errorf("claims: %v", claims)
			}
			header := decodePart(t, tokens.str("id_token"), 0)
			if header["kid"] == nil || header["alg"] != alg {
				t.Errorf("header: %v", header)
			}
			// A resource server verifies the access token by the same keys.
			_, err = op.Verifier(&oidc.Config{ClientID: "https://bank.example.com", Now: w.clock.Now}).Verify(t.Context(), tokens.str("access_token"))
			if err != nil {
				t.Errorf("access token: %v", err)
			}
		})
	}
}

func TestAccessToken(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	w.mustApprove(id)
	tokens := w.poll("gateway", authReqID)
	header := decodePart(t, tokens.str("access_token"), 0)
	if header["typ"] != "at+jwt" || header["alg"] != "ES256" {
		t.Errorf("header: %v", header)
	}
	claims := decodeClaims(t, tokens.str("access_token"))
	now := float64(w.clock.Now().Unix())
	want := map[string]any{
		"iss": issuer, "sub": "sub-alice", "client_id": "gateway", "scope": "openid profile my_wire_transfer_scope",
		"iat": now, "exp": now + 300, "auth_time": now - 60, "acr": "urn:example:pwd", "txn": id, "customer_id": "C-1",
	}
	for name, value := range want {
		if claims[name] != value {
			t.Errorf("%s is %v, want %v", name, claims[name], value)
		}
	}
	aud, _ := claims["aud"].([]any)
	if len(aud) != 2 || aud[0] != "https://bank.example.com" || aud[1] != issuer {
		t.Errorf("aud %v", claims["aud"])
	}
	jti, _ := claims["jti"].(string)
	if len(jti) < 20 {
		t.Errorf("jti %q", jti)
	}
}

func userinfo(w *world, token string) *answer {
	r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.do(r)
}

func TestUserinfo(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	w.mustApprove(id)
	tokens := w.poll("gateway", authReqID)
	a := userinfo(w, tokens.str("access_token"))
	a.want(t, 200, "")
	if a.str("sub") != "sub-alice" || a.str("name") != "Alice Example" || a.str("preferred_username") != "alice" || a.str("email") != "" {
		t.Errorf("userinfo: %s", a.raw)
	}
	a = userinfo(w, "")
	a.want(t, 401, "")
	if a.header.Get("WWW-Authenticate") != "Bearer" || a.raw != "" {
		t.Errorf("without a token: %v %s", a.header, a.raw)
	}
	userinfo(w, tokens.str("id_token")).want(t, 401, "invalid_token")
	userinfo(w, tokens.str("access_token")+"x").want(t, 401, "invalid_token")
	userinfo(w, "x").want(t, 401, "invalid_token")

	w.clock.advance(299 * time.Second)
	userinfo(w, tokens.str("access_token")).want(t, 200, "")
	w.clock.advance(time.Second)
	userinfo(w, tokens.str("access_token")).want(t, 401, "invalid_token")
	w.clock.advance(-time.Minute)
	w.users.disable("sub-alice")
	userinfo(w, tokens.str("access_token")).want(t, 401, "invalid_token")
}

// Threats T19: what prevents the making of tokens does not use up the request.
func TestFailedRedemptionDoesNotConsume(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	w.mustApprove(id)
	w.users.breakDown(context.DeadlineExceeded)
	a := w.poll("gateway", authReqID)
	a.want(t, 503, "temporarily_unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.users.breakDown(nil)
	w.poll("gateway", authReqID).want(t, 200, "")
	w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Threats T7: the store never sees the auth_req_id.
func TestAuthReqIDIsStoredHashed(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	if id != hashOf(authReqID) {
		t.Fatalf("record id %s is not the hash of the auth_req_id", id)
	}
	record, err := w.store.Get(t.Context(), "idp.request", id)
	if err != nil || strings.Contains(string(record.Data), authReqID) {
		t.Errorf("record %s, %v", record.Data, err)
	}
}
