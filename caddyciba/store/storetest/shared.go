package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// SharedFactory makes two nodes' stores on the same empty data.
type SharedFactory func(t *testing.T) (a, b store.Store, advance func(time.Duration))

// RunShared runs the tests of an engine whose data several nodes share: what
// one node does, the other one sees, and is woken by, and cannot do again.
func RunShared(t *testing.T, factory SharedFactory) {
	tests := []struct {
		name string
		run  func(t *testing.T, a, b *fixture)
	}{
		{"read", testSharedRead},
		{"watch", testSharedWatch},
		{"create race", testSharedCreateRace},
		{"update race", testSharedUpdateRace},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, b, advance := factory(t)
			start := time.Now()
			test.run(t,
				&fixture{Store: a, start: start, advanceBy: advance},
				&fixture{Store: b, start: start, advanceBy: advance})
		})
	}
}

func testSharedRead(t *testing.T, a, b *fixture) {
	x := store.Index{Name: "n"}
	r := a.create(t, &store.Record{Kind: "k", ID: "a", Data: []byte("1"), Indexes: []store.Index{x}, Expires: a.in(time.Hour)})
	same(t, b.get(t, "k", "a"), r)
	mine := b.get(t, "k", "a")
	mine.Data = []byte("2")
	b.update(t, mine)
	same(t, a.list(t, "k", x, "", 10)[0], mine)
	want(t, "Update by the other node", a.Update(t.Context(), r), store.ErrConflict)
	want(t, "Delete", a.Delete(t.Context(), "k", "a", 2), nil)
	b.gone(t, "k", "a")
}

func testSharedWatch(t *testing.T, a, b *fixture) {
	x := store.Index{Name: "user", Value: "müller \xff"}
	record, stop := b.Watch("k", "a")
	defer stop()
	index, stop := b.WatchIndex("k", x)
	defer stop()
	r := a.create(t, &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{x}})
	awake(t, "Create on the other node", record)
	awake(t, "Create on the other node", index)
	// Each step is seen: whatever wake-ups are still on their way, a reader
	// that waits for the next version gets there.
	for range 20 {
		a.update(t, r)
		for b.get(t, "k", "a").Version != r.Version {
			t.Fatal("a write that has returned is not visible on the other node")
		}
		awake(t, "Update on the other node", record)
		awake(t, "Update on the other node", index)
	}
	r.Indexes = nil
	a.update(t, r)
	awake(t, "Update out of the index", index)
	want(t, "Delete", a.Delete(t.Context(), "k", "a", 0), nil)
	awake(t, "Delete on the other node", record)
}

func testSharedCreateRace(t *testing.T, a, b *fixture) {
	for round := range rounds() {
		raceCreate(t, fmt.Sprint("round ", round), a.in(time.Hour), a.Store, b.Store)
	}
}

func testSharedUpdateRace(t *testing.T, a, b *fixture) {
	r := a.create(t, &store.Record{Kind: "k", ID: "a"})
	for range rounds() {
		raceUpdate(t, r, a.Store, b.Store)
	}
}
