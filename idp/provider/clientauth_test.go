package provider_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist A2; threats B07, T12
func TestSecretAuthentication(t *testing.T) {
	const awkward = "p%+ :&=ü/secret"
	w := newWorld(t, func(c *provider.Config) {
		c.Clients = append(c.Clients, provider.Client{
			ID:           "a:client %+",
			SecretHashes: []provider.SecretHash{provider.HashSecret("old-secret"), provider.HashSecret(awkward)},
		})
	})
	body := form("scope", "openid", "login_hint", "bob").Encode()
	basic := func(id, secret string) *answer {
		r := postRequest("/backchannel-authentication", body)
		r.SetBasicAuth(id, secret)
		return w.do(r)
	}
	// RFC 6749 section 2.3.1: both are form-encoded first.
	basic(url.QueryEscape("a:client %+"), url.QueryEscape(awkward)).want(t, 200, "")
	basic(url.QueryEscape("a:client %+"), "old-secret").want(t, 200, "")
	// openid-client encodes more than it must.
	basic("g%61teway", strings.ReplaceAll(secret1, "-", "%2D")).want(t, 200, "")
	a := basic("gateway", secret2)
	a.want(t, 401, "invalid_client")
	if a.header.Get("WWW-Authenticate") != `Basic realm="`+issuer+`"` { // CIBA checklist E2
		t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
	}
	unknown := basic("nobody", secret2)
	if unknown.raw != a.raw { // threats B08
		t.Errorf("unknown client: %s, wrong secret: %s", unknown.raw, a.raw)
	}

	a = w.do(postRequest("/backchannel-authentication", body+"&client_id=poster&client_secret="+secret1))
	a.want(t, 200, "")
	a = w.do(postRequest("/backchannel-authentication", body+"&client_id=poster&client_secret=wrong"))
	a.want(t, 401, "invalid_client")
	if a.header.Get("WWW-Authenticate") != "" {
		t.Error("WWW-Authenticate without an Authorization header")
	}
	w.do(postRequest("/backchannel-authentication", body+"&client_id=gateway&client_secret="+secret1)).want(t, 401, "invalid_client")

	r := postRequest("/backchannel-authentication", body)
	r.Header["Authorization"] = []string{"Basic x", "Basic y"}
	w.do(r).want(t, 400, "invalid_request")
}

// signer signs assertions.
type signer struct {
	alg jose.SignatureAlgorithm
	key any
	kid string
}

func newES256(t testing.TB, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{alg: jose.ES256, key: key, kid: kid}
}

func (s signer) jwks(t testing.TB) json.RawMessage {
	t.Helper()
	jwk := jose.JSONWebKey{Key: s.key, KeyID: s.kid}
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (s signer) sign(t testing.TB, claims any, headers map[jose.HeaderKey]any) string {
	t.Helper()
	options := &jose.SignerOptions{ExtraHeaders: headers}
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, ok := claims.([]byte)
	if !ok {
		payload, err = json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
	}
	jws, err := js.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func (w *world) assert(assertion string, params ...string) *answer {
	w.t.Helper()
	values := form(append([]string{
		"scope", "openid", "login_hint", "bob",
		"client_assertion_type", assertionType, "client_assertion", assertion,
	}, params...)...)
	return w.do(postRequest("/backchannel-authentication", values.Encode()))
}

func segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// CIBA checklist A3; threats B18, B21. What is refused is in testdata/badinput.
func TestPrivateKeyJWT(t *testing.T) {
	key := newES256(t, "k1")
	type m = map[string]any
	type h = map[jose.HeaderKey]any
	world := func(t *testing.T, change func(*provider.Config)) (*world, func(m) m) {
		w := newWorld(t, func(c *provider.Config) {
			c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
			c.Clients = append(c.Clients, provider.Client{ID: "jwt", AuthMethod: provider.AuthPrivateKeyJWT, JWKS: key.jwks(t)})
			if change != nil {
				change(c)
			}
		})
		now := w.clock.Now().Unix()
		serial := 0
		return w, func(change m) m {
			serial++
			claims := m{"iss": "jwt", "sub": "jwt", "aud": issuer, "exp": now + 60, "iat": now, "jti": strings.Repeat("j", serial)}
			for name, value := range change {
				claims[name] = value
				if value == nil {
					delete(claims, name)
				}
			}
			return claims
		}
	}
	w, claims := world(t, nil)
	now := w.clock.Now().Unix()
	good := []struct {
		name   string
		change m
		header h
	}{
		{"issuer", nil, nil},
		{"token endpoint", m{"aud": issuer + "/token"}, nil},
		{"backchannel endpoint", m{"aud": issuer + "/backchannel-authentication"}, nil},
		{"array of ours", m{"aud": []string{issuer, issuer + "/token"}}, nil},
		{"B21 iat and nbf 5 s ahead", m{"iat": now + 5, "nbf": now + 5}, nil},
		{"typ", nil, h{"typ": "JWT"}},
		{"typ of rfc7523bis", nil, h{"typ": "client-authentication+jwt"}},
		{"unknown header", nil, h{"x": "y"}},
	}
	for _, c := range good {
		a := w.assert(key.sign(t, claims(c.change), c.header))
		if a.status != http.StatusOK {
			t.Errorf("%s: %d %s", c.name, a.status, a.raw)
		}
	}
	w.assert(key.sign(t, claims(nil), nil), "client_id", "jwt").want(t, 200, "")

	// An algorithm that is fixed for the client.
	fixed, claims := world(t, func(c *provider.Config) { c.Clients[len(c.Clients)-1].AuthSigningAlg = "PS256" })
	fixed.assert(key.sign(t, claims(nil), nil)).want(t, 401, "invalid_client")
}
