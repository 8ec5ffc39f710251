package bank

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

// issuer publishes one key and signs with it, or with whatever a case wants.
type issuer struct {
	url string
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": i.url, "jwks_uri": i.url + "/jwks"})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256"}}})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func (i *issuer) sign(t *testing.T, key *ecdsa.PrivateKey, typ string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestIdentity(t *testing.T) {
	iss := newIssuer(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hour := time.Now().Add(time.Hour).Unix()
	good := map[string]any{"iss": iss.url, "sub": "alice", "aud": "bank", "exp": hour, "scope": "openid profile"}
	with := func(name string, value any) map[string]any {
		claims := map[string]any{}
		for k, v := range good {
			claims[k] = v
		}
		claims[name] = value
		return claims
	}
	cases := []struct {
		name, header string
		status       int
		text         string
	}{
		{"good", "Bearer " + iss.sign(t, iss.key, "at+jwt", good), 200, `"sub": "alice"`},
		{"list of audiences", "bearer " + iss.sign(t, iss.key, "application/at+jwt", with("aud", []string{"x", "bank"})), 200, `"sub": "alice"`},
		{"none", "", 401, "no bearer token"},
		{"other scheme", "Basic dTpw", 401, "no bearer token"},
		{"not a token", "Bearer abc", 401, "not a signed JWT"},
		{"ID Token", "Bearer " + iss.sign(t, iss.key, "JWT", good), 401, "not an access token"},
		{"other key", "Bearer " + iss.sign(t, other, "at+jwt", good), 401, "does not verify"},
		{"other issuer", "Bearer " + iss.sign(t, iss.key, "at+jwt", with("iss", "https://evil.example")), 401, "another issuer"},
		{"other audience", "Bearer " + iss.sign(t, iss.key, "at+jwt", with("aud", "shop")), 401, "another audience"},
		{"expired", "Bearer " + iss.sign(t, iss.key, "at+jwt", with("exp", time.Now().Add(-time.Second).Unix())), 401, "expired"},
		{"no expiry", "Bearer " + iss.sign(t, iss.key, "at+jwt", with("exp", 0)), 401, "expired"},
		{"not yet", "Bearer " + iss.sign(t, iss.key, "at+jwt", with("nbf", hour)), 401, "not valid yet"},
	}
	api := New(testLedger(), NewIdentity(iss.url, "bank", nil, nil))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/identity", nil)
			r.Header.Set("Authorization", c.header)
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
				t.Errorf("%d %s; want %d with %q", w.Code, w.Body, c.status, c.text)
			}
			if c.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

// TestIdentityRecovers shows that a provider that was down when the first token
// came does not leave the bank blind for ever.
func TestIdentityRecovers(t *testing.T) {
	iss := newIssuer(t)
	down := true
	front := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if down {
			return nil, http.ErrHandlerTimeout
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	identity := NewIdentity(iss.url, "", front, nil)
	token := iss.sign(t, iss.key, "at+jwt", map[string]any{"iss": iss.url, "sub": "alice", "exp": time.Now().Add(time.Minute).Unix()})
	_, err := identity.Verify(t.Context(), token)
	if err == nil {
		t.Fatal("verified without the issuer's keys")
	}
	down = false
	_, err = identity.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
