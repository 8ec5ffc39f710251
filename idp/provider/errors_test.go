package provider_test

import (
	"net/url"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist E1, E2, E3, E4: each error of CIBA Core 1.0 section 13 with its
// status, and those of RFC 8707 and RFC 9396.
func TestErrorsOfTheBackchannelEndpoint(t *testing.T) {
	hints := newES256(t, "hints")
	w := newWorld(t, func(c *provider.Config) {
		c.CompareUserCode = func(_, _ []byte) (bool, error) { return false, nil }
		c.HintIssuers = []provider.HintIssuer{{Issuer: "https://crm.example", JWKS: hints.jwks(t), Claim: "sub"}}
		c.Clients[1].UserCode = true
		c.Clients[2].Disabled, c.Clients[2].GrantTypes = false, []string{provider.GrantRefresh}
	})
	all, err := provider.NewStaticUsers([]provider.User{
		{ID: "sub-alice", Username: "alice", UserCodeHash: "x"}, {ID: "sub-bob", Username: "bob"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.users.all = all
	a := w.post("gateway", backchannel, "scope", "openid", "login_hint", "bob")
	err = w.Report(t.Context(), "sub-bob", hashOf(a.str("auth_req_id")))
	if err != nil {
		t.Fatal(err)
	}
	expired := hints.sign(t, map[string]any{"iss": "https://crm.example", "aud": issuer, "exp": w.clock.Now().Unix() - 60, "sub": "alice"}, nil)
	cases := []struct {
		client string
		params []string
		status int
		code   string
	}{
		{"gateway", []string{"scope", "openid"}, 400, "invalid_request"},
		{"gateway", []string{"scope", "openid nonsense", "login_hint", "alice"}, 400, "invalid_scope"},
		{"disabled", []string{"scope", "openid", "login_hint", "alice"}, 400, "unauthorized_client"},
		{"gateway", []string{"scope", "openid", "login_hint", "nobody"}, 400, "unknown_user_id"},
		{"gateway", []string{"scope", "openid", "login_hint_token", expired}, 400, "expired_login_hint_token"},
		{"other", []string{"scope", "openid", "login_hint", "alice"}, 400, "missing_user_code"},
		{"other", []string{"scope", "openid", "login_hint", "alice", "user_code", "1"}, 400, "invalid_user_code"},
		{"gateway", []string{"scope", "openid", "login_hint", "alice", "binding_message", "\x00"}, 400, "invalid_binding_message"},
		{"gateway", []string{"scope", "openid", "login_hint", "alice", "resource", "https://evil.example/"}, 400, "invalid_target"},
		{"gateway", []string{"scope", "openid", "login_hint", "alice", "authorization_details", "[]"}, 400, "invalid_authorization_details"},
		{"nobody", []string{"scope", "openid", "login_hint", "alice"}, 401, "invalid_client"},
		{"gateway", []string{"scope", "openid", "login_hint", "bob"}, 403, "access_denied"},
	}
	for _, c := range cases {
		a := w.post(c.client, backchannel, c.params...)
		if a.status != c.status || a.str("error") != c.code {
			t.Errorf("%v: %d %s", c.params, a.status, a.raw)
		}
		checkErrorAnswer(t, a)
		challenged := a.header.Get("WWW-Authenticate") != ""
		if challenged != (c.status == 401) {
			t.Errorf("%s: WWW-Authenticate %q", c.code, a.header.Get("WWW-Authenticate"))
		}
	}
	// Without an Authorization header there is nothing to challenge.
	values := url.Values{"client_id": {"poster"}, "client_secret": {"wrong"}, "scope": {"openid"}}
	a = w.do(postRequest(backchannel, values.Encode()))
	a.want(t, 401, "invalid_client")
	if a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
	}
}
