package provider_test

import (
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
