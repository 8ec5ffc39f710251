package approval

import (
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/approval/federation/federationtest"
	"github.com/caddyciba/gateway/idp/approval/webpush"
	"github.com/caddyciba/gateway/idp/approval/webpush/pushtest"
	"github.com/caddyciba/gateway/idp/provider"
)

// withPush gives an app push messages over a push service of the test.
func withPush(t *testing.T, push *pushtest.Service) func(*provider.Config, *Config) {
	return func(_ *provider.Config, c *Config) {
		roots := x509.NewCertPool()
		roots.AddCert(push.Certificate())
		client := provider.NewCallbackClient([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, roots)
		t.Cleanup(client.CloseIdleConnections)
		sealer, err := provider.NewSealer(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Push, err = webpush.New(webpush.Config{Store: c.Store, Sealer: sealer, Contact: "mailto:ops@bank.example", Client: client, Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// reachable gives an app push messages and another provider, for pages that show
// both. Nothing of either is ever called.
func reachable(t *testing.T) func(*provider.Config, *Config) {
	push, other := pushtest.New(t), federationtest.New(t)
	return func(pc *provider.Config, c *Config) {
		withPush(t, push)(pc, c)
		withElsewhere(t, other, c)
	}
}

// subscription is the form that a page posts for a browser.
func subscription(b *browser, s *pushtest.Browser) url.Values {
	return url.Values{
		"token": {token(b.g.t, b.get("/notifications"))}, "action": {"subscribe"},
		"endpoint": {s.Endpoint}, "p256dh": {s.P256DH}, "auth": {s.Auth},
	}
}

// A device that was switched on is listed for its customer, gets messages, and can be
// switched off by nobody else.
func TestNotifications(t *testing.T) {
	push := pushtest.New(t)
	g := newRig(t, withPush(t, push))
	alice, bob := g.signedIn("alice"), g.signedIn("bob")
	if !strings.Contains(alice.get("/").Body.String(), "Switch on notifications") {
		t.Error("the empty list does not offer notifications")
	}
	alice.header.Set("User-Agent", "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36")
	device := push.Subscribe()
	w := alice.post("/notifications", subscription(alice, device))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/notifications" {
		t.Fatalf("subscribing: %d\n%s", w.Code, w.Body)
	}
	page := alice.get("/notifications").Body.String()
	if !strings.Contains(page, "Chrome, Android") || strings.Contains(page, device.Endpoint) || strings.Contains(page, device.Auth) {
		t.Errorf("the page is\n%s", page)
	}
	if strings.Contains(alice.get("/").Body.String(), "Switch on notifications") {
		t.Error("the empty list offers what is on")
	}
	err := g.app.cfg.Push.Send(t.Context(), "sub-alice", g.clock.Now().Add(time.Minute))
	if err != nil || (<-push.Received).Browser != device {
		t.Errorf("sending: %v", err)
	}
	id := webpush.ID(device.Endpoint)
	for _, b := range []*browser{bob, alice} {
		devices, err := g.app.cfg.Push.Devices(t.Context(), "sub-alice")
		if err != nil || len(devices) != 1 {
			t.Fatalf("alice has %d devices, %v", len(devices), err)
		}
		w = b.post("/notifications", url.Values{"token": {token(t, b.get("/notifications"))}, "action": {"remove"}, "id": {id}})
		if w.Code != http.StatusSeeOther {
			t.Errorf("removing: %d", w.Code)
		}
	}
	devices, err := g.app.cfg.Push.Devices(t.Context(), "sub-alice")
	if err != nil || len(devices) != 0 {
		t.Errorf("alice has %d devices, %v", len(devices), err)
	}
}

// What is no subscription, and what does not come from the page, changes nothing
// (threats.md U01, U03, U04).
func TestNotificationsRefused(t *testing.T) {
	push := pushtest.New(t)
	g := newRig(t, withPush(t, push))
	good := push.Subscribe()
	tests := map[string]struct {
		change func(b *browser, form url.Values)
		want   int
	}{
		"no session": {func(b *browser, _ url.Values) { b.cookies = map[string]string{} }, http.StatusSeeOther},
		"no token":   {func(_ *browser, form url.Values) { form.Del("token") }, http.StatusForbidden},
		"other token": {func(b *browser, form url.Values) {
			form.Set("token", token(t, g.signedIn("bob").get("/notifications")))
		}, http.StatusForbidden},
		"cross-site":       {func(b *browser, _ url.Values) { b.header.Set("Origin", "https://evil.example") }, http.StatusForbidden},
		"no action":        {func(_ *browser, form url.Values) { form.Del("action") }, http.StatusBadRequest},
		"plain http":       {func(_ *browser, form url.Values) { form.Set("endpoint", "http://push.example.com/1") }, http.StatusUnprocessableEntity},
		"no key":           {func(_ *browser, form url.Values) { form.Del("p256dh") }, http.StatusUnprocessableEntity},
		"a secret too few": {func(_ *browser, form url.Values) { form.Set("auth", "AAAA") }, http.StatusUnprocessableEntity},
	}
	for name, test := range tests {
		alice := g.signedIn("alice")
		form := subscription(alice, good)
		test.change(alice, form)
		w := alice.post("/notifications", form)
		if w.Code != test.want {
			t.Errorf("%s: %d, want %d", name, w.Code, test.want)
		}
	}
	devices, err := g.app.cfg.Push.Devices(t.Context(), "sub-alice")
	if err != nil || len(devices) != 0 {
		t.Errorf("%d devices were kept, %v", len(devices), err)
	}
}

// Without push messages there is no such page, and nothing leads to it.
func TestNoPush(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	if w := b.get("/notifications"); w.Code != http.StatusNotFound {
		t.Errorf("the page is there: %d", w.Code)
	}
	if strings.Contains(b.get("/").Body.String(), "/notifications") {
		t.Error("the list leads to the page")
	}
}
