package provider_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// A client whose endpoint hangs gets its share of calls at a time, and the calls of
// another client wait for none of them.
func TestSlowClientDelaysNobody(t *testing.T) {
	release := make(chan struct{})
	var hanging, most atomic.Int64
	slow := make(chan struct{}, 1000)
	fast := make(chan struct{}, 1000)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fast" {
			fast <- struct{}{}
			w.WriteHeader(http.StatusNoContent)
			return
		}
		n := hanging.Add(1)
		for before := most.Load(); n > before && !most.CompareAndSwap(before, n); before = most.Load() {
		}
		slow <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		hanging.Add(-1)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	w := newWorld(t, func(c *provider.Config) {
		c.NotificationNetworks, c.NotificationRoots = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, roots
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 1000, 1000
		for i, path := range []string{"/slow", "/fast"} {
			c.Clients[i].DeliveryMode, c.Clients[i].NotificationEndpoint = provider.DeliveryPing, server.URL+path
		}
	})
	decide := func(client string, number int) {
		t.Helper()
		for range number {
			a := w.post(client, backchannel, "scope", "openid", "login_hint", "alice", "client_notification_token", notificationToken)
			a.want(t, 200, "")
			err := w.Deny(t.Context(), "sub-alice", hashOf(a.str("auth_req_id")))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	const owed = 150 // more than wait in memory
	decide("gateway", owed)
	for range 4 {
		receive(t, slow)
	}
	for round := range 3 {
		decide("other", 10)
		for range 10 {
			receive(t, fast)
		}
		if n := hanging.Load(); n == 0 || n > 4 {
			t.Errorf("round %d: %d calls hang", round, n)
		}
	}
	close(release)
	for i := range owed - 4 {
		select {
		case <-slow:
		case <-time.After(20 * time.Second):
			t.Fatal("only " + strconv.Itoa(i+4) + " of the slow client's calls were made")
		}
	}
	if most.Load() > 4 {
		t.Errorf("%d calls of one client at a time", most.Load())
	}
}

func receive(t *testing.T, from <-chan struct{}) {
	t.Helper()
	select {
	case <-from:
	case <-time.After(4 * time.Second): // less than a call may take
		t.Fatal("no call came")
	}
}
