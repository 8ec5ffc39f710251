package provider_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist F1 to F8, S1, S8; threats B13, B43, B56, B57
func TestFAPIProfile(t *testing.T) {
	key := newES256(t, "ec")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ps256 := signer{alg: jose.PS256, key: rsaKey, kid: "rsa"}
	rs256 := signer{alg: jose.RS256, key: rsaKey, kid: "rsa"}
	var ec, rs jose.JSONWebKeySet
	for set, raw := range map[*jose.JSONWebKeySet]json.RawMessage{&ec: key.jwks(t), &rs: ps256.jwks(t)} {
		err := json.Unmarshal(raw, set)
		if err != nil {
			t.Fatal(err)
		}
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: append(ec.Keys, rs.Keys...)})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.Profile = provider.ProfileFAPICIBA
		c.Clients = []provider.Client{{ID: "jwt", AuthMethod: provider.AuthPrivateKeyJWT, JWKS: jwks, CertificateBound: true}}
	})
	now := w.clock.Now().Unix()
	serial := 0
	send := func(assertion, request signer, change map[string]any, params ...string) *answer {
		serial++
		claims := map[string]any{"iss": "jwt", "sub": "jwt", "aud": issuer, "exp": now + 60, "iat": now, "jti": "a" + strconv.Itoa(serial)}
		object := map[string]any{
			"iss": "jwt", "aud": issuer, "exp": now + 60, "iat": now, "nbf": now, "jti": "r" + strconv.Itoa(serial),
			"scope": "openid", "login_hint": "alice", "binding_message": "1234",
		}
		for name, value := range change {
			object[name] = value
			if value == nil {
				delete(object, name)
			}
		}
		values := form("client_assertion_type", assertionType, "client_assertion", assertion.sign(t, claims, nil))
		if request.key != nil {
			values.Set("request", request.sign(t, object, nil))
		}
		for i := 0; i < len(params); i += 2 {
			values.Set(params[i], params[i+1])
		}
		return w.do(postRequest("/backchannel-authentication", values.Encode()))
	}
	send(key, key, nil).want(t, 200, "")
	send(ps256, ps256, nil).want(t, 200, "")
	send(rs256, ps256, nil).want(t, 401, "invalid_client")
	send(ps256, rs256, nil).want(t, 400, "invalid_request")
	send(key, signer{}, nil, "scope", "openid", "login_hint", "alice", "binding_message", "1").want(t, 400, "invalid_request")
	send(key, key, map[string]any{"binding_message": nil}).want(t, 400, "invalid_binding_message")
	send(key, key, map[string]any{"binding_message": nil, "login_hint_token": "x"}).want(t, 400, "invalid_request")
	send(key, key, map[string]any{"binding_message": nil, "authorization_details": []map[string]string{
		{"type": "http_request", "method": "POST", "host": "x", "target": "/"},
	}}).want(t, 200, "")

	for want, change := range map[string]func(*provider.Config){
		"demands private_key_jwt": func(c *provider.Config) {
			c.Clients[0].AuthMethod = provider.AuthSecretBasic
			c.Clients[0].SecretHashes = []provider.SecretHash{provider.HashSecret(secret1)}
		},
		"demands tokens that are bound": func(c *provider.Config) { c.Clients[0].CertificateBound = false },
		"does not allow RS256":          func(c *provider.Config) { c.SigningAlgs = []string{"RS256"} },
		"unknown profile":               func(c *provider.Config) { c.Profile = "x" },
	} {
		cfg := w.cfg
		cfg.Clients = append([]provider.Client(nil), w.cfg.Clients...)
		change(&cfg)
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
