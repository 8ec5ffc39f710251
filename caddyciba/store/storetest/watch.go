package storetest

import (
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func testWatch(t *testing.T, f *fixture) {
	changes, stop := f.Watch("k", "a")
	defer stop()
	r := f.create(t, &store.Record{Kind: "k", ID: "a"})
	awake(t, "Create", changes)
	f.update(t, r)
	awake(t, "Update", changes)
	want(t, "Delete", f.Delete(t.Context(), "k", "a", 0), nil)
	awake(t, "Delete", changes)

	// Every watcher of a record is woken.
	second, stopSecond := f.Watch("k", "a")
	defer stopSecond()
	f.create(t, &store.Record{Kind: "k", ID: "a"})
	awake(t, "first watcher", changes)
	awake(t, "second watcher", second)
}

func testWatchIndex(t *testing.T, f *fixture) {
	pending := store.Index{Name: "state", Value: "pending"}
	done := store.Index{Name: "state", Value: "done"}
	toPending, stop := f.WatchIndex("k", pending)
	defer stop()
	toDone, stop := f.WatchIndex("k", done)
	defer stop()

	r := f.create(t, &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{pending}})
	awake(t, "Create", toPending)
	r.Indexes = []store.Index{done}
	f.update(t, r)
	awake(t, "Update out of the index", toPending)
	awake(t, "Update into the index", toDone)
	f.update(t, r)
	awake(t, "Update within the index", toDone)
	want(t, "Delete", f.Delete(t.Context(), "k", "a", 2+1), nil)
	awake(t, "Delete", toDone)
}

func testWatchMerges(t *testing.T, f *fixture) {
	changes, stop := f.Watch("k", "a")
	defer stop()
	r := f.create(t, &store.Record{Kind: "k", ID: "a"})
	for range 20 {
		f.update(t, r) // must not wait for a receiver
	}
	awake(t, "first wake-up", changes)
	// What is read after the last wake-up is the last state. An engine may
	// need a while to report, and may report more often than once.
	deadline := time.After(patience)
	for f.get(t, "k", "a").Version != 21 {
		select {
		case <-changes:
		case <-deadline:
			t.Fatal("the last change was not reported")
		}
	}
}

func testWatchStop(t *testing.T, f *fixture) {
	other, stopOther := f.Watch("k", "a")
	defer stopOther()
	changes, stop := f.Watch("k", "a")
	index, stopIndex := f.WatchIndex("k", store.Index{Name: "n"})
	stop()
	stop()
	stopIndex()
	f.create(t, &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{{Name: "n"}}})
	awake(t, "watcher that did not stop", other)
	select {
	case <-changes:
		t.Error("stopped watch was woken")
	case <-index:
		t.Error("stopped index watch was woken")
	default:
	}
	stop() // a stop that comes late hurts nobody else
	r := f.get(t, "k", "a")
	f.update(t, r)
	awake(t, "watcher that did not stop", other)
}

// A reader that watches, reads, and then waits sees every state sooner or
// later, however the writer's steps fall between.
func testWatchMissesNothing(t *testing.T, f *fixture) {
	const last = 200
	r := f.create(t, &store.Record{Kind: "k", ID: "a"})
	wrote := make(chan error, 1)
	go func() {
		for r.Version < last {
			err := f.Update(t.Context(), r)
			if err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	for {
		changes, stop := f.Watch("k", "a")
		version := f.get(t, "k", "a").Version
		if version == last {
			stop()
			break
		}
		awake(t, "watch of a record that goes on changing", changes)
		stop()
	}
	err := <-wrote
	if err != nil {
		t.Fatal(err)
	}
}
