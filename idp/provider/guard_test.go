package provider_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// deny starts a request of a client for alice, and alice denies it.
func (w *world) deny(client string) {
	w.t.Helper()
	a := w.post(client, "/backchannel-authentication", "scope", "openid", "login_hint", "alice")
	a.want(w.t, 200, "")
	err := w.Deny(context.Background(), "sub-alice", hashOf(a.str("auth_req_id")))
	if err != nil {
		w.t.Fatal(err)
	}
}

// coolDown sets the default cool-down.
func coolDown(c *provider.Config) { c.CoolDown = provider.CoolDown{} }

func (w *world) ask(client, user string) *answer {
	w.t.Helper()
	return w.post(client, "/backchannel-authentication", "scope", "openid", "login_hint", user)
}

// Threats T4: who was denied has to wait, longer each time.
func TestCoolDown(t *testing.T) {
	w := newWorld(t, coolDown)
	for _, wait := range []time.Duration{
		time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour,
	} {
		w.deny("gateway")
		w.restart() // it is not forgotten
		w.ask("gateway", "alice").wantRetryAfter(t, fmt.Sprint(wait.Seconds()))
		w.ask("other", "alice").want(t, 200, "")
		w.ask("gateway", "bob").want(t, 200, "")
		w.clock.advance(wait - time.Second)
		w.ask("gateway", "alice").wantRetryAfter(t, "1")
		w.clock.advance(time.Second)
	}
	w.clock.advance(time.Hour + time.Second)
	w.deny("gateway")
	w.ask("gateway", "alice").wantRetryAfter(t, "60") // forgotten
}

// What the user reports after its end is marked as reported, and its client blocked.
func TestReportAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(w *world, id string){
		"denied":  func(w *world, id string) { _ = w.Deny(context.Background(), "sub-alice", id) },
		"expired": func(w *world, _ string) { w.clock.advance(5 * time.Minute) },
	} {
		w := newWorld(t, nil)
		_, id := w.start()
		end(w, id)
		err := w.Report(context.Background(), "sub-alice", id)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := w.Request(context.Background(), "sub-alice", id)
		if err != nil || !r.Reported {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		w.ask("gateway", "alice").want(t, 403, "access_denied")
	}
}

// Several denials at the same time all count.
func TestCoolDownRace(t *testing.T) {
	w := newWorld(t, coolDown)
	w.cfg.MaxPendingPerUser, w.cfg.MaxPendingPerUserAndClient = 50, 50
	w.restart()
	var ids []string
	for range 4 {
		ids = append(ids, hashOf(w.ask("gateway", "alice").str("auth_req_id")))
	}
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			err := w.Deny(context.Background(), "sub-alice", id)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.ask("gateway", "alice").wantRetryAfter(t, "480")
}

func TestCoolDownIsConfigurable(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) {
		c.CoolDown = provider.CoolDown{First: 10 * time.Second, Longest: 15 * time.Second}
	})
	for _, wait := range []string{"10", "15", "15"} {
		w.deny("gateway")
		w.ask("gateway", "alice").wantRetryAfter(t, wait)
		w.clock.advance(15 * time.Second)
	}
	w = newWorld(t, func(c *provider.Config) { c.CoolDown.First = -1 })
	for range 5 {
		w.deny("gateway")
	}
	for _, bad := range []provider.CoolDown{{First: time.Hour, Longest: time.Minute}, {Longest: 25 * time.Hour}} {
		cfg := w.cfg
		cfg.CoolDown = bad
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), "longest cool-down") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// CIBA checklist A17, E3; threats T4: "this was not me".
func TestReport(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, nil)
	authReqID, id := w.start()
	second, _ := w.start()
	foreign := w.ask("other", "alice")
	wantErr(t, w.Report(ctx, "sub-bob", id), provider.ErrNotFound)
	err := w.Report(ctx, "sub-alice", id)
	if err != nil {
		t.Fatal(err)
	}
	w.poll("gateway", authReqID).want(t, 400, "access_denied")
	w.poll("gateway", second).want(t, 400, "access_denied") // what else it was asking
	w.poll("other", foreign.str("auth_req_id")).want(t, 400, "authorization_pending")
	request, err := w.Request(ctx, "sub-alice", id)
	if err != nil || !request.Reported || request.State != provider.StateDenied {
		t.Errorf("%+v, %v", request, err)
	}

	w.clock.advance(48 * time.Hour)
	w.restart()
	a := w.ask("gateway", "alice")
	a.want(t, 403, "access_denied")
	checkErrorAnswer(t, a)
	w.ask("gateway", "bob").want(t, 200, "")
	w.ask("other", "alice").want(t, 200, "")
	blocks, err := w.ListBlocks(ctx, "sub-alice")
	if err != nil || len(blocks) != 1 || blocks[0].Client.Name != "Example Bank" || !blocks[0].Since.Equal(w.clock.Now().Add(-48*time.Hour)) {
		t.Errorf("blocks %+v, %v", blocks, err)
	}
	blocks, err = w.ListBlocks(ctx, "sub-bob")
	if err != nil || len(blocks) != 0 {
		t.Errorf("blocks of another: %+v, %v", blocks, err)
	}
	wantErr(t, w.Unblock(ctx, "sub-bob", "gateway"), provider.ErrNotFound)
	wantErr(t, w.Unblock(ctx, "sub-alice", "other"), provider.ErrNotFound)
	err = w.Unblock(ctx, "sub-alice", "gateway")
	if err != nil {
		t.Fatal(err)
	}
	w.ask("gateway", "alice").want(t, 200, "")
	wantErr(t, w.Unblock(ctx, "sub-alice", "gateway"), provider.ErrNotFound)
}

// A request that somebody else has approved in the name of the user is taken back.
func TestReportTakesBack(t *testing.T) {
	ctx := context.Background()
	t.Run("approved", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		w.mustApprove(id)
		err := w.Report(ctx, "sub-alice", id)
		if err != nil {
			t.Fatal(err)
		}
		w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
		w.ask("gateway", "alice").want(t, 403, "access_denied")
	})
	t.Run("redeemed", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		w.mustApprove(id)
		tokens := w.poll("gateway", authReqID)
		for range 2 { // it may be done twice
			err := w.Report(ctx, "sub-alice", id)
			if err != nil {
				t.Fatal(err)
			}
		}
		userinfo(w, tokens.str("access_token")).want(t, 401, "invalid_token")
		request, err := w.Request(ctx, "sub-alice", id)
		if err != nil || !request.Reported || request.State != provider.StateRedeemed {
			t.Errorf("%+v, %v", request, err)
		}
	})
	t.Run("expired", func(t *testing.T) {
		w := newWorld(t, nil)
		_, id := w.start()
		w.clock.advance(6 * time.Minute)
		err := w.Report(ctx, "sub-alice", id)
		if err != nil {
			t.Fatal(err)
		}
		w.ask("gateway", "alice").want(t, 403, "access_denied")
	})
}

// Threats T4: a client that does nothing but ask gets no further than the policy lets
// it, and does not shut out another that the user needs.
func TestFloodOfRequests(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) {
		coolDown(c)
		c.Limits = provider.Limits{}
	})
	ctx := context.Background()
	const day = 24 * time.Hour
	begin := w.clock.Now()
	asked, honest := 0, 0
	for step := 0; w.clock.Now().Sub(begin) < day; step++ {
		expiry := "1"
		if step%2 == 0 {
			expiry = "600"
		}
		a := w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice", "requested_expiry", expiry)
		if a.status == 200 {
			asked++
		}
		if step%360 == 0 { // once an hour
			pending, err := w.Pending(ctx, "sub-alice")
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range pending {
				err = w.Deny(ctx, "sub-alice", r.ID)
				if err != nil {
					t.Fatal(err)
				}
			}
			genuine := w.ask("other", "alice")
			genuine.want(t, 200, "")
			honest++
			approval := w.approval(hashOf(genuine.str("auth_req_id")))
			approval.Scopes = []string{"openid"}
			err = w.Approve(ctx, approval)
			if err != nil {
				t.Fatal(err)
			}
		}
		w.clock.advance(10 * time.Second)
	}
	// An hour brings what may wait at a time, and then the next cool-down.
	if asked > 24*provider.DefaultMaxPendingPerUserAndClient || asked < 24 || honest != 24 {
		t.Errorf("the flood got %d prompts, the other client %d", asked, honest)
	}
}
