package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func testClose(t *testing.T, f *fixture) {
	r := f.create(t, &store.Record{Kind: "k", ID: "a"})
	changes, stop := f.Watch("k", "a")
	defer stop()
	for range 2 {
		err := f.Close()
		if err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	awake(t, "Close", changes)
	_, err := f.Get(t.Context(), "k", "a")
	want(t, "Get", err, store.ErrClosed)
	want(t, "Create", f.Create(t.Context(), &store.Record{Kind: "k", ID: "b"}), store.ErrClosed)
	want(t, "Update", f.Update(t.Context(), r), store.ErrClosed)
	want(t, "Delete", f.Delete(t.Context(), "k", "a", 0), store.ErrClosed)
	_, err = f.List(t.Context(), "k", store.Index{Name: "n"}, "", 1)
	want(t, "List", err, store.ErrClosed)
	want(t, "Ping", f.Ping(t.Context()), store.ErrClosed)

	// Who begins to watch now learns at once that there is nothing to wait for.
	late, stop := f.Watch("k", "a")
	awake(t, "Watch after Close", late)
	stop()
	stop()
	late, stop = f.WatchIndex("k", store.Index{Name: "n"})
	awake(t, "WatchIndex after Close", late)
	stop()
}

// Close while others are at work: each call either does its work or says that
// the store is closed.
func testCloseUnderLoad(t *testing.T, f *fixture) {
	var done sync.WaitGroup
	begun := make(chan struct{}, racers)
	for i := range racers {
		done.Go(func() {
			begun <- struct{}{}
			for n := 0; ; n++ {
				r := &store.Record{Kind: "k", ID: fmt.Sprint(i, "-", n), Indexes: []store.Index{{Name: "n"}}}
				err := f.Create(t.Context(), r)
				if err == nil {
					_, err = f.Get(t.Context(), r.Kind, r.ID)
				}
				if err == nil {
					_, err = f.List(t.Context(), "k", store.Index{Name: "n"}, "", 3)
				}
				if errors.Is(err, store.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("while closing: %v", err)
					return
				}
				_, stop := f.Watch(r.Kind, r.ID)
				stop()
			}
		})
	}
	for range racers {
		<-begun
	}
	err := f.Close()
	if err != nil {
		t.Errorf("Close: %v", err)
	}
	done.Wait()
}
