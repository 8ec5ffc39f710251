package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// A relaxed write is a write: it can be read and listed, refuses what the others
// refuse, wakes who watches, and takes turns with others on the same record.
func testRelaxed(t *testing.T, f *fixture) {
	held, sent := store.Index{Name: "state", Value: "held"}, store.Index{Name: "state", Value: "sent"}
	changes, stop := f.Watch("k", "a")
	defer stop()
	listed, stop := f.WatchIndex("k", held)
	defer stop()
	r := &store.Record{Kind: "k", ID: "a", Data: []byte("one"), Indexes: []store.Index{held}, Expires: f.in(time.Hour), Relaxed: true}
	want(t, "relaxed Create", f.Create(t.Context(), r), nil)
	awake(t, "relaxed Create", changes)
	awake(t, "relaxed Create within the index", listed)
	if r.Version != 1 {
		t.Errorf("relaxed Create set version %d, want 1", r.Version)
	}
	got := f.get(t, "k", "a")
	if got.Relaxed {
		t.Error("what was read is relaxed")
	}
	same(t, got, &store.Record{Kind: "k", ID: "a", Version: 1, Data: r.Data, Indexes: r.Indexes, Expires: r.Expires})
	for _, relaxed := range []bool{true, false} {
		again := &store.Record{Kind: "k", ID: "a", Relaxed: relaxed}
		want(t, "second Create", f.Create(t.Context(), again), store.ErrExists)
		stale := &store.Record{Kind: "k", ID: "a", Version: 9, Relaxed: relaxed}
		want(t, "Update of another version", f.Update(t.Context(), stale), store.ErrConflict)
		missing := &store.Record{Kind: "k", ID: "b", Version: 1, Relaxed: relaxed}
		want(t, "Update of nothing", f.Update(t.Context(), missing), store.ErrNotFound)
	}
	for step := range 6 {
		r.Relaxed = step%2 == 0
		r.Indexes = []store.Index{sent}
		want(t, "Update", f.Update(t.Context(), r), nil)
		if got := f.get(t, "k", "a"); got.Version != uint64(step)+2 {
			t.Errorf("step %d: version %d", step, got.Version)
		}
	}
	if got := f.ids(t, "k", held); got != nil {
		t.Errorf("List = %q, want none", got)
	}
	if got := f.ids(t, "k", sent); !slices.Equal(got, []string{"a"}) {
		t.Errorf("List = %q, want a", got)
	}
	want(t, "Delete", f.Delete(t.Context(), "k", "a", r.Version), nil)
	f.gone(t, "k", "a")

	r = &store.Record{Kind: "k", ID: "a", Expires: f.in(time.Minute), Relaxed: true}
	want(t, "Create over deleted", f.Create(t.Context(), r), nil)
	f.advance(2 * time.Minute)
	f.gone(t, "k", "a")
	want(t, "Create over expired", f.Create(t.Context(), r), nil)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, "Update after the end", f.Update(ended, r), context.Canceled)
	want(t, "Close", f.Close(), nil)
	want(t, "Update after Close", f.Update(t.Context(), r), store.ErrClosed)
}

// Relaxed writers and others who change one record lose no write.
func testRelaxedCounter(t *testing.T, f *fixture) {
	const callers, each = 16, 12
	f.create(t, &store.Record{Kind: "k", ID: "counter", Data: []byte{0}})
	var done sync.WaitGroup
	for caller := range callers {
		done.Go(func() {
			for n := 0; n < each; {
				r, err := f.Get(t.Context(), "k", "counter")
				if err == nil {
					r.Data[0]++
					r.Relaxed = caller%4 != 0
					err = f.Update(t.Context(), r)
				}
				switch {
				case err == nil:
					n++
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	r := f.get(t, "k", "counter")
	if r.Data[0] != callers*each || r.Version != callers*each+1 {
		t.Errorf("counted to %d at version %d, want %d", r.Data[0], r.Version, callers*each)
	}
}

// Of relaxed writers and others who create one record, one wins.
func testRelaxedCreateRace(t *testing.T, f *fixture) {
	for range rounds() {
		race(t, "Create", store.ErrExists, func(racer int) error {
			return f.Create(t.Context(), &store.Record{Kind: "k", ID: "a", Relaxed: racer%2 == 0})
		})
		want(t, "Delete", f.Delete(t.Context(), "k", "a", 0), nil)
	}
}
