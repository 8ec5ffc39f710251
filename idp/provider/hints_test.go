package provider_test

import (
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

func (w *world) hint(clientID, name, value string) *answer {
	w.t.Helper()
	return w.post(clientID, "/backchannel-authentication", "scope", "openid", name, value)
}

// CIBA checklist A7; threats B34, B35
func TestIDTokenHint(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.SigningAlgs = []string{"ES256", "EdDSA"} })
	authReqID, id := w.start()
	w.mustApprove(id)
	tokens := w.poll("gateway", authReqID)
	idToken := tokens.str("id_token")
	w.hint("gateway", "id_token_hint", idToken).want(t, 200, "")
	// It says who is meant also when it has expired.
	w.clock.advance(48 * time.Hour)
	w.hint("gateway", "id_token_hint", idToken).want(t, 200, "")

	key := newES256(t, decodePart(t, idToken, 0)["kid"].(string))
	claims := decodeClaims(t, idToken)
	bad := map[string]string{
		"access token":   tokens.str("access_token"),
		"forged":         key.sign(t, claims, nil),
		"signature off":  idToken[:len(idToken)-4] + "AAAA",
		"none":           segment(`{"alg":"none"}`) + "." + idToken[len(idToken)-60:] + ".",
		"not a JWT":      "x",
		"of another key": newES256(t, "k").sign(t, claims, nil),
	}
	for name, token := range bad {
		a := w.hint("gateway", "id_token_hint", token)
		if a.status != 400 || a.str("error") != "invalid_request" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	w.hint("other", "id_token_hint", idToken).want(t, 400, "invalid_request") // aud is another client

	// The same keys under another issuer.
	w.cfg.Issuer = issuer + "/another"
	w.restart()
	w.post("gateway", "/another/backchannel-authentication", "scope", "openid", "id_token_hint", idToken).want(t, 400, "invalid_request")
	w.cfg.Issuer = issuer
	w.restart()
	w.users.disable("sub-alice")
	w.hint("gateway", "id_token_hint", idToken).want(t, 400, "unknown_user_id")
}

// CIBA checklist A8, D7; threats B36
func TestLoginHintToken(t *testing.T) {
	login, subject := newES256(t, "login"), newES256(t, "subject")
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.HintIssuers = []provider.HintIssuer{
			{Issuer: "https://directory.example", JWKS: login.jwks(t), Claim: "login"},
			{Issuer: "https://crm.example", JWKS: subject.jwks(t), BySubject: true},
		}
	})
	types, _ := w.get("/.well-known/openid-configuration").body["backchannel_endpoint_login_hint_token_types_supported"].([]any)
	if len(types) != 1 {
		t.Errorf("types of login_hint_token: %v", types)
	}
	type m = map[string]any
	now := w.clock.Now().Unix()
	token := func(key signer, iss, claim, value string, change m) string {
		claims := m{"iss": iss, "aud": issuer, "exp": now + 60, "iat": now, claim: value}
		for name, v := range change {
			claims[name] = v
			if v == nil {
				delete(claims, name)
			}
		}
		return key.sign(t, claims, nil)
	}
	byLogin := func(change m) string { return token(login, "https://directory.example", "login", "alice", change) }
	w.hint("gateway", "login_hint_token", byLogin(nil)).want(t, 200, "")
	w.hint("gateway", "login_hint_token", byLogin(m{"aud": []string{"https://x.example", issuer}})).want(t, 200, "")
	w.hint("gateway", "login_hint_token", token(subject, "https://crm.example", "sub", "sub-alice", nil)).want(t, 200, "")
	pending, err := w.Pending(t.Context(), "sub-alice")
	if err != nil || len(pending) != 3 {
		t.Errorf("pending: %d, %v", len(pending), err)
	}
	cases := []struct{ name, token, code string }{
		{"expired", byLogin(m{"exp": now - 60}), "expired_login_hint_token"},
		{"unknown login", byLogin(m{"login": "mallory"}), "unknown_user_id"},
		{"disabled user", byLogin(m{"login": "carol"}), "unknown_user_id"},
		{"unknown subject", token(subject, "https://crm.example", "sub", "sub-nobody", nil), "unknown_user_id"},
		{"login instead of subject", token(subject, "https://crm.example", "sub", "alice", nil), "unknown_user_id"},
		{"no exp", byLogin(m{"exp": nil}), "invalid_request"},
		{"nbf in the future", byLogin(m{"nbf": now + 60}), "invalid_request"},
		{"exp far away", byLogin(m{"exp": now + 90000}), "invalid_request"},
		{"for somebody else", byLogin(m{"aud": "https://x.example"}), "invalid_request"},
		{"unknown issuer", byLogin(m{"iss": "https://x.example"}), "invalid_request"},
		{"signed by another issuer", token(subject, "https://directory.example", "login", "alice", nil), "invalid_request"},
		{"forged and expired", token(newES256(t, "login"), "https://directory.example", "login", "alice", m{"exp": now - 60}), "invalid_request"},
		{"no user", byLogin(m{"login": nil}), "invalid_request"},
		{"number as user", byLogin(m{"login": 1}), "invalid_request"},
		{"another type", login.sign(t, m{"iss": "https://directory.example", "aud": issuer, "exp": now + 60, "login": "alice"},
			map[jose.HeaderKey]any{"typ": "at+jwt"}), "invalid_request"},
		{"not a JWT", "alice", "invalid_request"},
	}
	for _, c := range cases {
		a := w.hint("gateway", "login_hint_token", c.token)
		if a.status != 400 || a.str("error") != c.code {
			t.Errorf("%s: %d %s", c.name, a.status, a.raw)
		}
	}
	for _, issuers := range [][]provider.HintIssuer{
		{{Issuer: "", JWKS: login.jwks(t)}},
		{{Issuer: "a"}},
		{{Issuer: "a", JWKS: []byte(`{"keys":[]}`)}},
		{{Issuer: "a", JWKS: login.jwks(t)}, {Issuer: "a", JWKS: login.jwks(t)}},
	} {
		cfg := w.cfg
		cfg.HintIssuers = issuers
		_, err := provider.New(cfg)
		if err == nil {
			t.Errorf("%+v was taken", issuers)
		}
	}
}
