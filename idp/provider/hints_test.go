package provider_test

import (
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

func (w *world) hint(clientID, name, value string) *answer {
	w.t.Helper()
	return w.post(clientID, "/backchannel-authentication", "scope", "openid", name, value)
}

// CIBA checklist A7. What is refused is in testdata/badinput.
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

	w.hint("gateway", "id_token_hint", tokens.str("access_token")).want(t, 400, "invalid_request")
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

// CIBA checklist A8, D7. What is refused is in testdata/badinput.
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
	for code, tokens := range map[string][]string{
		"unknown_user_id": {
			token(subject, "https://crm.example", "sub", "sub-nobody", nil), token(subject, "https://crm.example", "sub", "alice", nil),
		},
		"invalid_request": {token(subject, "https://directory.example", "login", "alice", nil)}, // signed by another issuer
	} {
		for _, token := range tokens {
			w.hint("gateway", "login_hint_token", token).want(t, 400, code)
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
