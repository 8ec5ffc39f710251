package provider_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

// Threats INV-9: the first decision stands.
func TestDecisionsAreSticky(t *testing.T) {
	ctx := context.Background()
	approve := func(w *world, id string) error { return w.approve(id) }
	deny := func(w *world, id string) error { return w.Deny(ctx, "sub-alice", id) }
	cases := []struct {
		name        string
		first, then func(*world, string) error
		status      int
		code        string
	}{
		{"deny after approve", approve, deny, 200, ""},
		{"approve after deny", deny, approve, 400, "access_denied"},
		{"double approve", approve, approve, 200, ""},
		{"double deny", deny, deny, 400, "access_denied"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			authReqID, id := w.start()
			err := c.first(w, id)
			if err != nil {
				t.Fatal(err)
			}
			wantErr(t, c.then(w, id), provider.ErrDecided)
			w.poll("gateway", authReqID).want(t, c.status, c.code)
			wantErr(t, c.then(w, id), provider.ErrDecided)
		})
	}
	t.Run("approve after expiry", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		w.clock.advance(5 * time.Minute)
		wantErr(t, approve(w, id), provider.ErrExpired)
		wantErr(t, deny(w, id), provider.ErrExpired)
		w.clock.advance(-time.Minute)
		wantErr(t, approve(w, id), provider.ErrExpired)
		w.poll("gateway", authReqID).want(t, 400, "expired_token")
	})
	t.Run("after redemption", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		w.mustApprove(id)
		w.poll("gateway", authReqID).want(t, 200, "")
		wantErr(t, deny(w, id), provider.ErrDecided)
		wantErr(t, approve(w, id), provider.ErrDecided)
	})
}

func TestDecisionsMustFit(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, func(c *provider.Config) { c.ACRValues = []string{"urn:example:pwd", "phr"} })
	authReqID, id := w.start("acr_values", "unknown phr")
	change := func(f func(*provider.Approval)) provider.Approval {
		a := w.approval(id)
		a.ACR = "phr"
		f(&a)
		return a
	}
	cases := []struct {
		name string
		a    provider.Approval
		want error
	}{
		{"another subject", change(func(a *provider.Approval) { a.Subject = "sub-bob" }), provider.ErrNotFound},
		{"no subject", change(func(a *provider.Approval) { a.Subject = "" }), provider.ErrNotFound},
		{"unknown id", change(func(a *provider.Approval) { a.RequestID = "x" }), provider.ErrNotFound},
		{"auth_req_id as id", change(func(a *provider.Approval) { a.RequestID = authReqID }), provider.ErrNotFound},
		{"scope not asked for", change(func(a *provider.Approval) { a.Scopes = []string{"openid", "email"} }), provider.ErrScope},
		{"required scope missing", change(func(a *provider.Approval) { a.Scopes = []string{"profile"} }), provider.ErrScope},
		{"no scopes", change(func(a *provider.Approval) { a.Scopes = nil }), provider.ErrScope},
		{"weaker acr", change(func(a *provider.Approval) { a.ACR = "urn:example:pwd" }), provider.ErrACR},
	}
	for _, c := range cases {
		wantErr(t, w.Approve(ctx, c.a), c.want)
	}
	for _, at := range []time.Time{{}, w.clock.Now().Add(time.Minute)} {
		err := w.Approve(ctx, change(func(a *provider.Approval) { a.AuthTime = at }))
		if err == nil {
			t.Errorf("approved with authentication time %v", at)
		}
	}
	w.poll("gateway", authReqID).want(t, 400, "authorization_pending")
	err := w.Approve(ctx, change(func(*provider.Approval) {}))
	if err != nil {
		t.Fatal(err)
	}
	// CIBA checklist A10: the ID Token carries a requested acr.
	tokens := w.poll("gateway", authReqID)
	if decodeClaims(t, tokens.str("id_token"))["acr"] != "phr" {
		t.Errorf("acr is not the one asked for: %s", tokens.raw)
	}
}

// Of many decisions at the same time one is made, and the token endpoint tells
// of that one.
func TestDecisionRace(t *testing.T) {
	for range 50 {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		results := make([]error, 16)
		var wg sync.WaitGroup
		barrier := make(chan struct{})
		for i := range results {
			wg.Go(func() {
				<-barrier
				if i%2 == 0 {
					results[i] = w.approve(id)
				} else {
					results[i] = w.Deny(context.Background(), "sub-alice", id)
				}
			})
		}
		close(barrier)
		wg.Wait()
		winner := -1
		for i, err := range results {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("decisions %d and %d were both made", winner, i)
			case err == nil:
				winner = i
			default:
				wantErr(t, err, provider.ErrDecided)
			}
		}
		if winner < 0 {
			t.Fatal("no decision was made")
		}
		a := w.poll("gateway", authReqID)
		if winner%2 == 0 {
			a.want(t, 200, "")
		} else {
			a.want(t, 400, "access_denied")
		}
	}
}
