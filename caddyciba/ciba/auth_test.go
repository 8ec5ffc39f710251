package ciba

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func credentials() *Credentials {
	return &Credentials{
		Issuer: "https://id.example.com/", ClientID: "client:1 ü", Form: url.Values{}, Header: http.Header{},
		Now: time.Unix(1700000000, 0), Rand: rand.Reader,
	}
}

// Identifier and secret are percent-encoded before they are joined (RFC 6749
// section 2.3.1): a colon in the identifier must not become the separator.
func TestClientSecretBasic(t *testing.T) {
	r := credentials()
	err := ClientSecretBasic("a:b+c%/é").Authenticate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	encoded, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Basic ")
	if !ok {
		t.Fatalf("header %v", r.Header)
	}
	pair, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if string(pair) != "client%3A1+%C3%BC:a%3Ab%2Bc%25%2F%C3%A9" {
		t.Errorf("pair %q", pair)
	}
	if len(r.Form) != 0 {
		t.Errorf("form %v", r.Form)
	}
}

func TestClientSecretPost(t *testing.T) {
	r := credentials()
	err := ClientSecretPost("s3cret").Authenticate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Form.Get("client_id") != r.ClientID || r.Form.Get("client_secret") != "s3cret" || len(r.Header) != 0 {
		t.Errorf("form %v, header %v", r.Form, r.Header)
	}
}

// An empty secret, as of a placeholder without a value, is never sent.
func TestEmptySecret(t *testing.T) {
	for _, a := range []Authenticator{ClientSecretBasic(""), ClientSecretPost("")} {
		c, op := newTestClient(t, func(cfg *Config) { cfg.Auth = a })
		_, err := c.Start(t.Context(), Request{LoginHint: "alice"})
		wantCode(t, err, CodeInvalidArgument)
		if len(op.seen("/backchannel")) != 0 {
			t.Error("a request was sent")
		}
	}
}

// A client_secret_jwt is an assertion like any other, and a secret that is too
// short to be a key is refused.
func TestClientSecretJWT(t *testing.T) {
	_, err := ClientSecretJWT("too short")
	if err == nil {
		t.Error("a short secret was taken")
	}
	const secret = "a secret of more than thirty-two bytes"
	auth, err := ClientSecretJWT(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := credentials()
	err = auth.Authenticate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(r.Form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signed.Verify([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	err = json.Unmarshal(payload, &claims)
	if err != nil || claims["iss"] != r.ClientID || claims["sub"] != r.ClientID || claims["aud"] != r.Issuer || claims["jti"] == "" {
		t.Errorf("claims %v, %v", claims, err)
	}
	if strings.Contains(r.Form.Encode(), "thirty") {
		t.Error("the secret was sent")
	}
}

func signingKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[alg] = key
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys["PS256"] = rsaKey
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys["EdDSA"] = ed
	return keys
}

// readAssertion verifies an assertion with its key and returns its parts.
func readAssertion(t *testing.T, assertion string, key crypto.Signer) (jose.Header, map[string]any) {
	t.Helper()
	signed, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{
		jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.RS256, jose.EdDSA,
	})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signed.Verify(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	err = json.Unmarshal(payload, &claims)
	if err != nil {
		t.Fatal(err)
	}
	return signed.Signatures[0].Header, claims
}

// The assertion names the issuer alone as its audience, as one string (T13,
// CVE-2025-27370), lives for a minute and is never the same twice. CIBA checklist
// A3.
func TestPrivateKeyJWT(t *testing.T) {
	for alg, key := range signingKeys(t) {
		t.Run(alg, func(t *testing.T) {
			auth, err := PrivateKeyJWT(&jose.JSONWebKey{Key: key, KeyID: "client-key"}, "")
			if err != nil {
				t.Fatal(err)
			}
			seen := map[any]bool{}
			for range 3 {
				r := credentials()
				err = auth.Authenticate(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				if r.Form.Get("client_assertion_type") != assertionType || len(r.Form) != 2 || len(r.Header) != 0 {
					t.Fatalf("form %v, header %v", r.Form, r.Header)
				}
				header, claims := readAssertion(t, r.Form.Get("client_assertion"), key)
				if header.Algorithm != alg || header.KeyID != "client-key" {
					t.Errorf("header %+v", header)
				}
				if claims["iss"] != r.ClientID || claims["sub"] != r.ClientID || claims["aud"] != r.Issuer {
					t.Errorf("claims %v", claims)
				}
				if claims["iat"] != 1700000000.0 || claims["exp"] != 1700000060.0 {
					t.Errorf("claims %v", claims)
				}
				id, ok := claims["jti"].(string)
				if !ok || len(id) < 22 || seen[id] {
					t.Errorf("jti %v", claims["jti"])
				}
				seen[id] = true
			}
		})
	}
}

// Every poll carries a new assertion, for the issuer of the configuration and not
// for an endpoint of the metadata.
func TestEachRequestHasItsOwnAssertion(t *testing.T) {
	key := signingKeys(t)["ES256"]
	auth, err := PrivateKeyJWT(&jose.JSONWebKey{Key: key}, "ES256")
	if err != nil {
		t.Fatal(err)
	}
	c, op := newTestClient(t, func(cfg *Config) { cfg.Auth = auth })
	md := op.metadata()
	md["token_endpoint"] = "https://bank.example.org/token"
	op.on("/.well-known/openid-configuration", sends(200, md))
	op.onPolls(pending)
	p := start(t, c)
	seen := map[any]bool{}
	for range 3 {
		_, err = c.Poll(t.Context(), p)
		wantCode(t, err, CodeAuthorizationPending)
	}
	for _, call := range append(op.seen("/token"), op.seen("/backchannel")...) {
		_, claims := readAssertion(t, call.form.Get("client_assertion"), key)
		if claims["aud"] != op.issuer || seen[claims["jti"]] {
			t.Errorf("claims %v", claims)
		}
		seen[claims["jti"]] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d assertions", len(seen))
	}
}

func TestPrivateKeyJWTRefusesKeys(t *testing.T) {
	keys := signingKeys(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		key *jose.JSONWebKey
		alg string
	}{
		"none":                 {nil, ""},
		"empty":                {&jose.JSONWebKey{}, ""},
		"symmetric":            {&jose.JSONWebKey{Key: []byte("secret")}, "HS256"},
		"public":               {&jose.JSONWebKey{Key: keys["ES256"].Public()}, ""},
		"for encryption":       {&jose.JSONWebKey{Key: keys["ES256"], Use: "enc"}, ""},
		"another alg":          {&jose.JSONWebKey{Key: keys["ES256"], Algorithm: "ES256"}, "PS256"},
		"alg of another curve": {&jose.JSONWebKey{Key: keys["ES256"]}, "ES384"},
		"alg of another kind":  {&jose.JSONWebKey{Key: keys["PS256"]}, "ES256"},
		"alg none":             {&jose.JSONWebKey{Key: keys["ES256"]}, "none"},
		"RSA 1024 (C02)":       {&jose.JSONWebKey{Key: weak}, ""},
	} {
		_, err := PrivateKeyJWT(row.key, row.alg)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Without random bytes there is no assertion.
func TestPrivateKeyJWTWithoutRandomness(t *testing.T) {
	auth, err := PrivateKeyJWT(&testKey, "")
	if err != nil {
		t.Fatal(err)
	}
	r := credentials()
	r.Rand = iotest.ErrReader(errors.New("no entropy"))
	err = auth.Authenticate(t.Context(), r)
	if err == nil || len(r.Form) != 0 {
		t.Errorf("got %v and form %v", err, r.Form)
	}
}

func TestParsePrivateKey(t *testing.T) {
	key := signingKeys(t)["ES256"].(*ecdsa.PrivateKey)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	jwk, err := (&jose.JSONWebKey{Key: key, KeyID: "k1"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	public := (&jose.JSONWebKey{Key: key.Public(), KeyID: "k1"})
	publicJWK, err := public.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"PKCS #8": block("PRIVATE KEY", pkcs8),
		"SEC 1":   block("EC PRIVATE KEY", sec1),
		"JWK":     jwk,
	} {
		parsed, err := ParsePrivateKey(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !key.Equal(parsed.Key) || parsed.KeyID == "" {
			t.Errorf("%s: another key, or no kid", name)
		}
	}
	// C02
	for name, data := range map[string][]byte{
		"empty":         nil,
		"text":          []byte("s3cret-canary"),
		"public JWK":    publicJWK,
		"public PEM":    block("PUBLIC KEY", pkcs8),
		"encrypted PEM": block("ENCRYPTED PRIVATE KEY", pkcs8),
		"wrong PEM":     block("PRIVATE KEY", []byte("s3cret-canary")),
		"symmetric JWK": []byte(`{"kty":"oct","k":"s3cret-canary"}`),
		"repeated name": []byte(`{"kty":"oct","kty":"EC","k":"s3cret-canary"}`),
	} {
		parsed, err := ParsePrivateKey(data)
		if err == nil || parsed != nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
}

// No way of formatting shows a secret.
func TestSecretsAreNotFormatted(t *testing.T) {
	const canary = "s3cret-canary"
	for _, v := range []any{
		ClientSecretBasic(canary),
		ClientSecretPost(canary),
		Config{ClientID: "c", Auth: ClientSecretBasic(canary)},
		Tokens{AccessToken: canary, RefreshToken: canary, IDToken: canary},
		&Tokens{AccessToken: canary, RefreshToken: canary, IDToken: canary},
		Pending{AuthReqID: canary},
		&Pending{AuthReqID: canary},
		[]Pending{{AuthReqID: canary}},
	} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&out, verb, v)
		}
		if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
			t.Errorf("%T shows its secret: %s", v, out.String())
		}
	}
	for _, v := range []any{
		Config{Auth: ClientSecretBasic(canary), Now: nil}.Auth,
		Tokens{AccessToken: canary, RefreshToken: canary, IDToken: canary},
	} {
		data, err := json.Marshal(v)
		if err != nil || strings.Contains(string(data), canary) {
			t.Errorf("%T is encoded as %s, %v", v, data, err)
		}
	}
}

type authenticatorFunc func(*Credentials) error

func (f authenticatorFunc) Authenticate(_ context.Context, r *Credentials) error { return f(r) }
func (f authenticatorFunc) Method() string                                       { return "custom" }

// A method of somebody else's can be plugged in, and its failure stops the
// request.
func TestCustomAuthenticator(t *testing.T) {
	fail := errors.New("signing service is away")
	c, op := newTestClient(t, func(cfg *Config) {
		cfg.Auth = authenticatorFunc(func(r *Credentials) error {
			if r.Form.Get("grant_type") != "" {
				return fail
			}
			r.Header.Set("X-Proof", r.Issuer)
			return nil
		})
	})
	p := start(t, c)
	if op.seen("/backchannel")[0].header.Get("X-Proof") != op.issuer {
		t.Error("the proof was not sent")
	}
	_, err := c.Poll(t.Context(), p)
	if !errors.Is(err, fail) || len(op.seen("/token")) != 0 {
		t.Errorf("got %v", err)
	}
}
