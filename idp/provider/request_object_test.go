package provider_test

import (
	"crypto/rand"
	"crypto/rsa"
	"strconv"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// signedWorld has a client "signed" that must sign its requests with the key.
func signedWorld(t *testing.T, key signer, change func(*provider.Client)) (*world, func(map[string]any) map[string]any) {
	t.Helper()
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		client := provider.Client{
			ID: "signed", JWKS: key.jwks(t), RequireSignedRequests: true, Scopes: []string{"profile"},
			SecretHashes: []provider.SecretHash{provider.HashSecret(secret1)},
		}
		if change != nil {
			change(&client)
		}
		c.Clients = append(c.Clients, client)
	})
	now := w.clock.Now().Unix()
	serial := 0
	return w, func(change map[string]any) map[string]any {
		serial++
		claims := map[string]any{
			"iss": "signed", "aud": issuer, "exp": now + 300, "iat": now, "nbf": now, "jti": "jti-" + strconv.Itoa(serial),
			"scope": "openid profile", "login_hint": "alice", "binding_message": "1234",
		}
		for name, value := range change {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
		return claims
	}
}

func (w *world) request(token string, params ...string) *answer {
	w.t.Helper()
	return w.post("signed", "/backchannel-authentication", append([]string{"request", token}, params...)...)
}

// CIBA checklist S1 to S8, C3, A12; threats B46, B55 to B61
func TestSignedRequests(t *testing.T) {
	key := newES256(t, "k1")
	w, claims := signedWorld(t, key, nil)
	now := w.clock.Now().Unix()
	type m = map[string]any
	good := map[string]m{
		"as it is":           nil,
		"expiry as text":     {"requested_expiry": "30"},
		"expiry as a number": {"requested_expiry": 30},
		"client_id inside":   {"client_id": "signed"},
		"several audiences":  {"aud": []string{"https://x.example", issuer}},
		"scope order":        {"scope": "profile openid"},
		"details as JSON": {"authorization_details": []m{{
			"type": "http_request", "method": "POST", "host": "api.example.com", "target": "/t",
		}}},
		"unknown claim":   {"x": m{"y": 1}},
		"request_context": {"request_context": m{"ip": "192.0.2.1"}},
	}
	for name, change := range good {
		a := w.request(key.sign(t, claims(change), nil))
		if a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
		_, timed := change["requested_expiry"]
		if timed && a.body["expires_in"] != 30.0 {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
	w.request(key.sign(t, claims(nil), map[jose.HeaderKey]any{"typ": "OautH-auThZ-REQ+jWt"})).want(t, 200, "")
	w.request(key.sign(t, claims(nil), nil), "scope", "openid profile", "login_hint", "alice").want(t, 200, "") // the same outside

	bad := map[string]m{
		"B58 no aud": {"aud": nil}, "B58 no iss": {"iss": nil}, "B58 no exp": {"exp": nil},
		"B58 no iat": {"iat": nil}, "B58 no nbf": {"nbf": nil}, "B58 no jti": {"jti": nil},
		"B59 other aud": {"aud": "https://www.other1.example.com/"}, "B59 other iss": {"iss": "gateway"},
		"other client_id": {"client_id": "gateway"},
		"B60 exp past":    {"exp": now - 3600}, "B60 exp +70 min": {"exp": now + 4200},
		"B60 nbf +10 min": {"nbf": now + 600}, "B60 nbf -70 min": {"nbf": now - 4200},
		"iat in the future": {"iat": now + 600},
		"A6 two hints":      {"login_hint_token": "x"}, "no hint": {"login_hint": nil}, "no scope": {"scope": nil},
		"scope as a list": {"scope": []string{"openid"}}, "hint as a number": {"login_hint": 1}, "hint null": {"login_hint": nil},
		"expiry zero": {"requested_expiry": 0}, "expiry fraction": {"requested_expiry": 1.5}, "expiry null": {"requested_expiry": m{}},
		"NUL":             {"login_hint": "al\x00ice"},
		"B54 request_uri": {"request_uri": "https://evil.example"},
	}
	for name, change := range bad {
		a := w.request(key.sign(t, claims(change), nil))
		if a.status != 400 || a.str("error") != "invalid_request" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
		checkErrorAnswer(t, a)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	token := key.sign(t, claims(nil), nil)
	raw := map[string]string{
		"B57 none":                   segment(`{"alg":"none"}`) + token[len(segment(`{"alg":"none"}`)):],
		"B57 signature off":          token[:len(token)-8] + "AAAAAAAA",
		"B57 RS256, not their key":   signer{alg: jose.RS256, key: rsaKey, kid: "k1"}.sign(t, claims(nil), nil),
		"HS256":                      signer{alg: jose.HS256, key: []byte(secret1 + secret1), kid: "k1"}.sign(t, claims(nil), nil),
		"B59 signed by other client": newES256(t, "k1").sign(t, claims(nil), nil),
		"B61 encrypted":              "a.b.c.d.e",
		"another type":               key.sign(t, claims(nil), map[jose.HeaderKey]any{"typ": "at+jwt"}),
		"jku":                        key.sign(t, claims(nil), map[jose.HeaderKey]any{"jku": "https://evil.example"}),
	}
	for name, token := range raw {
		a := w.request(token)
		if a.status != 400 || a.str("error") != "invalid_request" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	// B55: what is outside must be the same.
	for _, outside := range [][]string{{"scope", "openid"}, {"login_hint", "bob"}, {"requested_expiry", "10"}, {"user_code", "1"}} {
		w.request(key.sign(t, claims(nil), nil), outside...).want(t, 400, "invalid_request")
	}
	// B56, S8
	w.post("signed", "/backchannel-authentication", "scope", "openid", "login_hint", "alice").want(t, 400, "invalid_request")
	// B61, S7
	once := key.sign(t, claims(nil), nil)
	w.request(once).want(t, 200, "")
	w.request(once).want(t, 400, "invalid_request")
	// Codes of section 13 come through.
	w.request(key.sign(t, claims(m{"binding_message": "1234 👍🏿 品川 Lorem"}), nil)).want(t, 400, "invalid_binding_message")
	w.request(key.sign(t, claims(m{"login_hint": "nobody"}), nil)).want(t, 400, "unknown_user_id")
	// A client without keys can't send signed requests.
	w.post("gateway", "/backchannel-authentication", "request", once).want(t, 400, "invalid_request")

	// C3: one algorithm, and by that no unsigned requests.
	fixed, claims := signedWorld(t, key, func(c *provider.Client) {
		c.RequireSignedRequests = false
		c.RequestSigningAlg = "PS256"
	})
	fixed.request(key.sign(t, claims(nil), nil)).want(t, 400, "invalid_request")
	fixed.post("signed", "/backchannel-authentication", "scope", "openid", "login_hint", "alice").want(t, 400, "invalid_request")
}
