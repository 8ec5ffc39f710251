package caddyciba

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// A process that shares the store can end at any time, so that what it leaves is
// looked for again and again. A request of ours is not among it, however late.
func TestRecoveryLater(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, recordEvents, gateBlock(op, b))
	takeEvents()
	g := s.gate()
	done := s.postLater("/transfers", transfer)
	op.waitStarted(1)
	data, err := json.Marshal(stepup.Transaction{
		ID: "1", Method: "POST", Host: "bank", Target: "/transfers", State: stepup.StateSending, Instance: "another process",
		Times: map[stepup.State]time.Time{stepup.StateSending: time.Now()}, Deadline: time.Now().Add(-time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = g.store.Create(t.Context(), &store.Record{
		Kind: "gateway.transaction", ID: "1", Data: data, Indexes: []store.Index{{Name: "state", Value: string(stepup.StateSending)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	state := func() stepup.State {
		got, err := g.engine.Journal().Get(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		return got.State
	}
	s.post("/transfers", "{}")
	if got := state(); got != stepup.StateSending {
		t.Errorf("state is %s right after another recovery", got)
	}
	g.rest.mu.Lock()
	g.rest.settled = time.Now().Add(-2 * settleAgain)
	g.rest.tried = g.rest.settled
	g.rest.mu.Unlock()
	s.post("/transfers", "{}")
	if got := state(); got != stepup.StateInDoubt {
		t.Errorf("state is %s, want in_doubt", got)
	}
	if !slices.Contains(eventNames(takeEvents()), "ciba_in_doubt") {
		t.Error("nobody was told")
	}
	op.setDecision(approve)
	if got := <-done; got.status != 201 {
		t.Errorf("the request that was held meanwhile got %+v", got)
	}
}
