package provider_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

func TestEvents(t *testing.T) {
	ctx := context.Background()
	var mu sync.Mutex
	var seen []string
	w := newWorld(t, func(c *provider.Config) {
		coolDown(c)
		c.Limits = provider.Limits{}
		c.OnEvent = func(_ context.Context, e provider.Event) {
			mu.Lock()
			defer mu.Unlock()
			line := string(e.Type) + " " + e.Client + " " + e.Subject
			request := e.Request()
			if request != nil {
				line += " " + string(request.State)
			}
			if e.Reason != "" {
				line += " " + e.Reason
			}
			if e.At.IsZero() {
				t.Errorf("%s has no time", line)
			}
			seen = append(seen, line)
		}
	})
	expect := func(want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(seen, want) {
			t.Errorf("events\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
		}
		seen = nil
	}
	authReqID, id := w.start()
	w.poll("gateway", authReqID)
	w.poll("gateway", authReqID)
	w.mustApprove(id)
	w.poll("gateway", authReqID).want(t, 200, "")
	w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
	expect("requested gateway sub-alice pending", "slow_down gateway sub-alice pending", "approved gateway sub-alice approved",
		"redeemed gateway sub-alice redeemed", "revoked gateway sub-alice redeemed used twice")
	authReqID, _ = w.start()
	w.post("gateway", "/revoke", "token", authReqID)
	authReqID, _ = w.start()
	w.clock.advance(5 * time.Minute)
	w.poll("gateway", authReqID)
	w.poll("gateway", authReqID)
	expect("requested gateway sub-alice pending", "cancelled gateway sub-alice cancelled",
		"requested gateway sub-alice pending", "expired gateway sub-alice expired")
	w.deny("gateway")
	w.ask("gateway", "alice")
	w.ask("gateway", "mallory")
	expect("requested gateway sub-alice pending", "denied gateway sub-alice denied",
		"refused gateway sub-alice temporarily_unavailable", "refused gateway  unknown_user_id")
	a := w.ask("other", "alice")
	err := w.Report(ctx, "sub-alice", hashOf(a.str("auth_req_id")))
	if err != nil {
		t.Fatal(err)
	}
	w.ask("other", "alice")
	err = w.Unblock(ctx, "sub-alice", "other")
	if err != nil {
		t.Fatal(err)
	}
	expect("requested other sub-alice pending", "denied other sub-alice denied", "reported other sub-alice denied",
		"blocked other sub-alice denied", "refused other sub-alice access_denied", "unblocked other sub-alice")
}

func TestEventsOfDelivery(t *testing.T) {
	events := make(chan provider.EventType, 100)
	var status atomic.Int64
	w, _ := pushWorld(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(int(status.Load())) })
	notified := make(chan struct{})
	w.cfg.Notify = func(context.Context, *provider.Request) { <-notified }
	w.cfg.OnEvent = func(_ context.Context, e provider.Event) { events <- e.Type }
	w.restart()
	expect := func(want ...provider.EventType) {
		t.Helper()
		var got []provider.EventType
		for range want {
			select {
			case typ := <-events:
				got = append(got, typ)
			case <-time.After(30 * time.Second):
				t.Fatalf("events %v, want %v", got, want)
			}
		}
		// The outbox is at work before Approve has returned.
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
	}
	status.Store(http.StatusNoContent)
	_, id := w.startPush()
	expect(provider.EventRequested)
	notified <- struct{}{}
	expect(provider.EventNotified)
	w.mustApprove(id)
	expect(provider.EventApproved, provider.EventRedeemed, provider.EventDelivered)

	close(notified)
	status.Store(http.StatusUnauthorized)
	_, id = w.startPush()
	expect(provider.EventRequested, provider.EventNotified)
	w.mustApprove(id)
	expect(provider.EventApproved, provider.EventRedeemed, provider.EventUndelivered, provider.EventRevoked)
}

// An application that has nobody to tell is not called, and nothing else changes.
func TestNotifies(t *testing.T) {
	var told atomic.Int64
	var wanted atomic.Bool
	w := newWorld(t, func(c *provider.Config) {
		c.Notify = func(context.Context, *provider.Request) { told.Add(1) }
		c.Notifies = wanted.Load
	})
	w.start()
	wanted.Store(true)
	w.start()
	w.Close() // waits for what goes on in the background
	if told.Load() != 1 {
		t.Errorf("told of %d requests", told.Load())
	}
}
