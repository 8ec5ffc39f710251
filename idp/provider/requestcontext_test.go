package provider_test

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist A14. TestPolicies proves that policies get to see it.
func TestRequestContext(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50 })
	for value, status := range map[string]int{
		"": 200, "{}": 200, `{"ip":"192.0.2.1","user_agent":"x","geo":{"lat":1.5}}`: 200, "{\"a\":\"" + strings.Repeat("x", 4088) + "\"}": 200,
		"x": 400, "1": 400, "null": 400, "[]": 400, `"{}"`: 400, "{} {}": 400, `{"a":1,"a":2}`: 400, `{"a":`: 400,
		strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20): 400, "{\"a\":\"" + strings.Repeat("x", 4089) + "\"}": 400,
	} {
		a := w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice", "request_context", value)
		if a.status != status || status == 400 && a.str("error") != "invalid_request" {
			t.Errorf("%.60q: %d %s", value, a.status, a.raw)
		}
	}
}

// The place is shown to the user if it can be shown, and is no reason to refuse.
func TestPlace(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50 })
	for value, want := range map[string]string{
		`{"place":"Teller desk 7, Vienna"}`: "Teller desk 7, Vienna", `{"place":"مكتب ٧"}`: "مكتب ٧", `{}`: "", `{"place":7}`: "", `{"place":null}`: "",
		`{"place":"a\u202eb"}`: "", `{"place":"a\nb"}`: "", `{"place":"<b>"}`: "", `{"place":"` + strings.Repeat("x", 65) + `"}`: "",
	} {
		a := w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice", "request_context", value)
		a.want(t, 200, "")
		r, err := w.Request(context.Background(), "sub-alice", hashOf(a.str("auth_req_id")))
		if err != nil || r.Place != want {
			t.Errorf("%.40s: %q, %v", value, r.Place, err)
		}
	}
}
