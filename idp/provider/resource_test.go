package provider_test

import (
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist A15; threats T16
func TestResource(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.Scopes = append(c.Scopes, provider.Scope{Name: "cards", Audience: "https://cards.example.com"})
		c.Clients[0].Scopes = append(c.Clients[0].Scopes, "cards")
		c.Clients[0].GrantTypes = []string{provider.GrantCIBA, provider.GrantRefresh}
	})
	const bank, cards = "https://bank.example.com", "https://cards.example.com"
	tokens := func(atStart, atToken []string) *answer {
		t.Helper()
		params := []string{"scope", "openid my_wire_transfer_scope cards", "login_hint", "alice"}
		for _, r := range atStart {
			params = append(params, "resource", r)
		}
		a := w.post("gateway", "/backchannel-authentication", params...)
		if a.status != 200 {
			return a
		}
		approval := w.approval(hashOf(a.str("auth_req_id")))
		approval.Scopes = []string{"openid", "my_wire_transfer_scope", "cards"}
		err := w.Approve(t.Context(), approval)
		if err != nil {
			t.Fatal(err)
		}
		var more []string
		for _, r := range atToken {
			more = append(more, "resource", r)
		}
		return w.poll("gateway", a.str("auth_req_id"), more...)
	}
	check := func(a *answer, scope string, audience ...string) {
		t.Helper()
		a.want(t, 200, "")
		claims := decodeClaims(t, a.str("access_token"))
		var aud []string
		for _, v := range claims["aud"].([]any) {
			aud = append(aud, v.(string))
		}
		want := strings.Join(append(audience, issuer), " ")
		if strings.Join(aud, " ") != want || claims["scope"] != scope || a.str("scope") != scope {
			t.Errorf("aud %v, scope %v", aud, claims["scope"])
		}
	}
	check(tokens(nil, nil), "openid my_wire_transfer_scope cards", bank, cards)
	check(tokens([]string{bank}, nil), "openid my_wire_transfer_scope", bank)
	check(tokens([]string{bank, cards}, []string{cards}), "openid cards", cards)
	check(tokens(nil, []string{cards, cards}), "openid cards", cards)
	all := tokens(nil, []string{bank})
	check(w.refresh("gateway", all.str("refresh_token"), "resource", cards), "openid cards", cards)

	for _, bad := range []string{"https://evil.example/", "bank", bank + "#x", "/x", ":"} {
		tokens([]string{bad}, nil).want(t, 400, "invalid_target")
		tokens(nil, []string{bad}).want(t, 400, "invalid_target")
	}
	tokens([]string{bank}, []string{cards}).want(t, 400, "invalid_target")
	w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice", "resource", bank).want(t, 400, "invalid_target")
	w.post("gateway", "/backchannel-authentication", append([]string{"scope", "openid", "login_hint", "bob"},
		strings.Fields(strings.Repeat("resource "+bank+" ", 17))...)...).want(t, 400, "invalid_target")
}
