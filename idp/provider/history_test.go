package provider_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// remembering keeps a history.
func remembering(c *provider.Config) { c.History = 90 * 24 * time.Hour }

// history reads the whole history of alice, page by page.
func (w *world) history(limit int) []*provider.Request {
	w.t.Helper()
	var all []*provider.Request
	after := ""
	for {
		page, err := w.History(context.Background(), "sub-alice", after, limit)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, page.Requests...)
		if page.Next == "" {
			return all
		}
		if len(page.Requests) != limit {
			w.t.Fatalf("a page of %d that is not the last", len(page.Requests))
		}
		after = page.Next
	}
}

// Every end is in the history, with what was shown, the newest first; what waits is not.
func TestHistory(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, remembering)
	w.cfg.MaxPendingPerUser, w.cfg.MaxPendingPerUserAndClient = 50, 50
	w.restart()
	var want []string
	end := func(state provider.State, finish func(authReqID, id string)) {
		w.clock.advance(time.Minute)
		authReqID, id := w.start("binding_message", "Number "+fmt.Sprint(len(want)))
		finish(authReqID, id)
		want = append(want, id+" "+string(state))
	}
	end(provider.StateApproved, func(_, id string) { w.mustApprove(id) })
	end(provider.StateRedeemed, func(authReqID, id string) {
		w.mustApprove(id)
		w.poll("gateway", authReqID).want(t, 200, "")
	})
	end(provider.StateDenied, func(_, id string) {
		err := w.Deny(ctx, "sub-alice", id)
		if err != nil {
			t.Fatal(err)
		}
	})
	end(provider.StateCancelled, func(authReqID, _ string) {
		w.post("gateway", "/revoke", "token", authReqID).want(t, 200, "")
	})
	end(provider.StateExpired, func(string, string) { w.clock.advance(6 * time.Minute) })
	want[0] = want[0][:44] + string(provider.StateExpired) // nobody has come for it
	_, waiting := w.start()

	for _, limit := range []int{1, 2, 5, 100} {
		got := w.history(limit)
		if len(got) != len(want) {
			t.Fatalf("pages of %d: %d requests, want %d", limit, len(got), len(want))
		}
		for i, r := range got {
			n := len(want) - 1 - i
			if line := r.ID + " " + string(r.State); line != want[n] || r.BindingMessage != "Number "+fmt.Sprint(n) || len(r.Scopes) == 0 || r.ID == waiting {
				t.Errorf("pages of %d: %d is %s, want %s", limit, i, line, want[n])
			}
		}
	}
	page, err := w.History(ctx, "sub-bob", "", 10)
	if err != nil || len(page.Requests) != 0 {
		t.Errorf("bob sees %d requests, %v", len(page.Requests), err)
	}
}

// The history spans windows of the store's index, survives a client's new name, and
// ends when it is said to.
func TestHistoryOverTime(t *testing.T) {
	w := newWorld(t, remembering)
	var ids []string
	for range 9 {
		_, id := w.start()
		w.mustApprove(id)
		ids = append(ids, id)
		w.clock.advance(10 * 24 * time.Hour)
	}
	w.cfg.Clients[0].Name = "New Bank"
	w.restart()
	got := w.history(4)
	if len(got) != 8 { // the first one is 90 days old
		t.Fatalf("%d requests", len(got))
	}
	for i, r := range got {
		if r.ID != ids[len(ids)-1-i] || r.Client.Name != "Example Bank" {
			t.Errorf("%d: %s of %s", i, r.ID, r.Client.Name)
		}
	}
}

// Without the option nothing is kept beyond what the protocol needs.
func TestNoHistory(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	err := w.Deny(context.Background(), "sub-alice", id)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.history(10); len(got) != 0 {
		t.Errorf("%d requests", len(got))
	}
	w.clock.advance(20 * time.Minute)
	w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
}

func TestHistoryCursor(t *testing.T) {
	w := newWorld(t, remembering)
	for _, after := range []string{"x", "1.", "1.short", "zzzzzzzzzzzz." + hashOf("x"), "-1." + hashOf("x"), "1." + hashOf("x") + "x", "1." + hashOf("x") + "\n"} {
		_, err := w.History(context.Background(), "sub-alice", after, 10)
		wantErr(t, err, provider.ErrCursor)
	}
}
