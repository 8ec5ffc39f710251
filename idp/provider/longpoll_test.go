package provider_test

import (
	"context"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// inBubble runs a test with a clock that jumps ahead when everybody waits.
func inBubble(t *testing.T, change func(*provider.Config), test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, newWorld(t, func(c *provider.Config) {
			c.Now = time.Now
			c.Store = store.NewMemory(store.Options{})
			if change != nil {
				change(c)
			}
		}))
	})
}

// longPoll polls with a wish to wait and tells how long that took.
func (w *world) longPoll(ctx context.Context, authReqID, prefer string) (*answer, time.Duration) {
	w.t.Helper()
	r := postRequest("/token", form("grant_type", provider.GrantCIBA, "auth_req_id", authReqID).Encode())
	r.SetBasicAuth("gateway", url.QueryEscape(secret1))
	if prefer != "" {
		r.Header.Set("Prefer", prefer)
	}
	begin := time.Now()
	a := w.do(r.WithContext(ctx))
	return a, time.Since(begin)
}

func wantTook(t *testing.T, got, want time.Duration) {
	t.Helper()
	if got != want {
		t.Errorf("took %s, want %s", got, want)
	}
}

// CIBA checklist T8
func TestLongPoll(t *testing.T) {
	ctx := context.Background()
	t.Run("a decision on another node wakes it", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, w *world) {
			other, err := provider.New(w.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			authReqID, id := w.start()
			time.AfterFunc(7*time.Second, func() {
				a := w.approval(id)
				a.AuthTime = time.Now()
				err := other.Approve(ctx, a)
				if err != nil {
					t.Error(err)
				}
			})
			a, took := w.longPoll(ctx, authReqID, "wait=20")
			a.want(t, 200, "")
			wantTook(t, took, 7*time.Second)
		})
	})
	t.Run("denial wakes it", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, w *world) {
			authReqID, id := w.start()
			time.AfterFunc(time.Second, func() {
				err := w.Deny(ctx, "sub-alice", id)
				if err != nil {
					t.Error(err)
				}
			})
			a, took := w.longPoll(ctx, authReqID, "respond-async, wait=20")
			a.want(t, 400, "access_denied")
			wantTook(t, took, time.Second)
		})
	})
	t.Run("it ends in time", func(t *testing.T) {
		for prefer, want := range map[string]time.Duration{
			"wait=10": 10 * time.Second, "wait=3600": 25 * time.Second, "wait=0": 0, "wait=x": 0, "": 0, "wait=-1": 0,
		} {
			inBubble(t, nil, func(t *testing.T, w *world) {
				authReqID, _ := w.start()
				a, took := w.longPoll(ctx, authReqID, prefer)
				a.want(t, 400, "authorization_pending")
				wantTook(t, took, want)
			})
		}
	})
	t.Run("expiry ends it", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, w *world) {
			authReqID, _ := w.start("requested_expiry", "10")
			a, took := w.longPoll(ctx, authReqID, "wait=25")
			a.want(t, 400, "expired_token")
			wantTook(t, took, 10*time.Second)
		})
	})
	t.Run("a second poll ends the first", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, w *world) {
			authReqID, id := w.start()
			second := make(chan *answer)
			time.AfterFunc(6*time.Second, func() {
				a, _ := w.longPoll(ctx, authReqID, "wait=20")
				second <- a
			})
			a, took := w.longPoll(ctx, authReqID, "wait=20")
			a.want(t, 400, "authorization_pending")
			wantTook(t, took, 6*time.Second)
			err := w.Deny(ctx, "sub-alice", id)
			if err != nil {
				t.Fatal(err)
			}
			(<-second).want(t, 400, "access_denied")
		})
	})
	t.Run("the interval runs from the sending", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, w *world) {
			authReqID, _ := w.start()
			for range 3 {
				a, took := w.longPoll(ctx, authReqID, "wait=20")
				a.want(t, 400, "authorization_pending")
				wantTook(t, took, 20*time.Second)
			}
			w.poll("gateway", authReqID)
			a, took := w.longPoll(ctx, authReqID, "wait=20")
			a.want(t, 400, "slow_down") // an early poll is not held
			wantTook(t, took, 0)
		})
	})
	t.Run("the client leaves", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, w *world) {
			authReqID, id := w.start()
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, took := w.longPoll(ctx, authReqID, "wait=20")
			wantTook(t, took, time.Second)
			a := w.approval(id)
			a.AuthTime = time.Now()
			err := w.Approve(context.Background(), a)
			if err != nil {
				t.Fatal(err)
			}
			w.poll("gateway", authReqID).want(t, 200, "")
		})
	})
	t.Run("close ends it", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, w *world) {
			authReqID, _ := w.start()
			time.AfterFunc(time.Second, w.Close)
			a, took := w.longPoll(ctx, authReqID, "wait=20")
			a.want(t, 400, "authorization_pending")
			wantTook(t, took, time.Second)
		})
	})
	t.Run("client and limits", func(t *testing.T) {
		change := func(c *provider.Config) {
			c.Clients[0].LongPoll = true
			c.LongPoll = 3 * time.Second
			c.MaxHeldPolls = 1
		}
		inBubble(t, change, func(t *testing.T, w *world) {
			first, _ := w.start()
			second, _ := w.start()
			time.AfterFunc(time.Second, func() {
				_, took := w.longPoll(ctx, second, "")
				wantTook(t, took, 0)
			})
			_, took := w.longPoll(ctx, first, "")
			wantTook(t, took, 3*time.Second)
		})
	})
	t.Run("off", func(t *testing.T) {
		inBubble(t, func(c *provider.Config) { c.LongPoll = -1 }, func(t *testing.T, w *world) {
			authReqID, _ := w.start()
			_, took := w.longPoll(ctx, authReqID, "wait=20")
			wantTook(t, took, 0)
		})
	})
}
