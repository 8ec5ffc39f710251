package provider_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// Threats INV-3, F7; CIBA checklist T7: of 64 polls of an approved request
// exactly one gets tokens.
func TestRedemptionRace(t *testing.T) {
	t.Run("memory", func(t *testing.T) { redemptionRace(t, 100, nil) })
	t.Run("bolt", func(t *testing.T) {
		redemptionRace(t, 20, func(c *provider.Config) {
			bolt, err := store.OpenBolt(filepath.Join(t.TempDir(), "idp.db"), store.BoltOptions{Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			c.Store = bolt
		})
	})
}

func redemptionRace(t *testing.T, rounds int, change func(*provider.Config)) {
	w := newWorld(t, change)
	// Two nodes share the store.
	node, err := provider.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	for range rounds {
		authReqID, id := w.start()
		w.mustApprove(id)
		answers := make([]*answer, 64)
		barrier := make(chan struct{})
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				<-barrier
				at := *w
				if i%2 == 1 {
					at.Provider = node
				}
				answers[i] = at.poll("gateway", authReqID)
			})
		}
		close(barrier)
		wg.Wait()
		won := 0
		for _, a := range answers {
			if a.status == 200 {
				won++
				continue
			}
			a.want(t, 400, "invalid_grant")
		}
		if won != 1 {
			t.Fatalf("%d polls got tokens", won)
		}
	}
}

// Threats INV-13: starts at the same time do not leave more requests waiting than
// the limits allow.
func TestPendingLimitRace(t *testing.T) {
	w := newWorld(t, nil)
	var wg sync.WaitGroup
	barrier := make(chan struct{})
	for range 32 {
		wg.Go(func() {
			<-barrier
			w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice")
		})
	}
	close(barrier)
	wg.Wait()
	pending, err := w.Pending(t.Context(), "sub-alice")
	if err != nil || len(pending) > provider.DefaultMaxPendingPerUserAndClient {
		t.Errorf("%d requests are pending, %v", len(pending), err)
	}
}
