package provider_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// A client may have an interval and a lifetime of its own.
func TestTimesOfClients(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) {
		c.Clients[0].Interval, c.Clients[0].RequestLifetime = 2*time.Second, time.Minute
	})
	other := w.ask("other", "alice")
	if other.body["interval"] != 5.0 || other.body["expires_in"] != 300.0 {
		t.Errorf("another client: %s", other.raw)
	}
	a := w.ask("gateway", "alice")
	if a.body["interval"] != 2.0 || a.body["expires_in"] != 60.0 {
		t.Errorf("the client: %s", a.raw)
	}
	longer := w.post("gateway", backchannel, "scope", "openid", "login_hint", "bob", "requested_expiry", "400")
	if longer.body["expires_in"] != 400.0 {
		t.Errorf("a longer request: %s", longer.raw)
	}
	for _, step := range []struct {
		after time.Duration
		code  string
	}{{0, "authorization_pending"}, {2 * time.Second, "authorization_pending"}, {time.Second, "slow_down"}, {7 * time.Second, "authorization_pending"}} {
		w.clock.advance(step.after)
		w.poll("gateway", a.str("auth_req_id")).want(t, 400, step.code)
	}
	w.clock.advance(50 * time.Second)
	w.poll("gateway", a.str("auth_req_id")).want(t, 400, "expired_token")
	for want, change := range map[string]func(*provider.Client){
		"interval must be":         func(c *provider.Client) { c.Interval = 1500 * time.Millisecond },
		"request lifetime must be": func(c *provider.Client) { c.RequestLifetime = time.Hour },
	} {
		cfg := w.cfg
		cfg.Clients = append([]provider.Client(nil), w.cfg.Clients...)
		change(&cfg.Clients[0])
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
