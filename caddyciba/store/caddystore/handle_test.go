package caddystore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/storetest"
)

// fakeEngine opens memory stores and counts. While gate is set, Open waits for
// it or for its context.
type fakeEngine struct {
	key   string
	gate  chan struct{}
	fails atomic.Int32 // how often Open fails before it works
	opens atomic.Int32
	now   func() time.Time
	last  *store.Memory
}

func (e *fakeEngine) Key() string { return e.key }

func (e *fakeEngine) Open(ctx context.Context) (store.Store, error) {
	e.opens.Add(1)
	if e.gate != nil {
		select {
		case <-e.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if e.fails.Add(-1) >= 0 {
		return nil, errDown
	}
	e.last = store.NewMemory(store.Options{Now: e.now})
	return e.last, nil
}

var errDown = errors.New("store is down")

func acquireT(t *testing.T, e Engine) *Handle {
	t.Helper()
	h, err := Acquire(caddy.Context{}, e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := h.Release()
		if err != nil {
			t.Errorf("Release: %v", err)
		}
	})
	return h
}

// A handle is a store like any other.
func TestHandleIsAStore(t *testing.T) {
	defer goleak.VerifyNone(t)
	storetest.Run(t, func(t *testing.T) (store.Store, func(time.Duration)) {
		var mu sync.Mutex
		now := time.Now()
		e := &fakeEngine{key: t.Name(), now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}}
		return acquireT(t, e), func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(d)
		}
	})
}

func TestAcquireOpensNothing(t *testing.T) {
	e := &fakeEngine{key: t.Name()}
	acquireT(t, e)
	if e.opens.Load() != 0 {
		t.Error("Acquire opened the store")
	}
}

// Everybody with the same key shares one store, which lives until the last
// reference is gone, whoever holds it.
func TestReferencesShareOneStore(t *testing.T) {
	e := &fakeEngine{key: t.Name()}
	old := acquireT(t, e)
	r := &store.Record{Kind: "k", ID: "a"}
	err := old.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	held := old.Retain()
	reloaded := acquireT(t, &fakeEngine{key: t.Name()})
	for range 3 { // again and again takes one reference only
		err = old.Release()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = old.Get(t.Context(), "k", "a")
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("released handle: %v", err)
	}
	for _, h := range []*Handle{held, reloaded} {
		_, err = h.Get(t.Context(), "k", "a")
		if err != nil {
			t.Errorf("handle that is still held: %v", err)
		}
	}
	err = errors.Join(held.Release(), reloaded.Release())
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(e.last.Ping(t.Context()), store.ErrClosed) {
		t.Error("the last release did not close the store")
	}
	if e.opens.Load() != 1 {
		t.Errorf("opened %d times", e.opens.Load())
	}
	// A request that begins just when its config goes away still gets a store.
	late := old.Retain()
	defer late.Release()
	err = late.Ping(t.Context())
	if err != nil {
		t.Errorf("Retain of a released handle: %v", err)
	}
}

func TestOpeningIsSingleAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fakeEngine{key: t.Name(), gate: make(chan struct{})}
		e.fails.Store(1)
		h := acquireT(t, e)
		pingAll := func() (errs []error) {
			errs = make([]error, 64)
			var done sync.WaitGroup
			for i := range errs {
				done.Go(func() { errs[i] = h.Ping(t.Context()) })
			}
			synctest.Wait()
			close(e.gate)
			done.Wait()
			e.gate = make(chan struct{})
			return errs
		}
		for i, err := range pingAll() {
			if !errors.Is(err, errDown) {
				t.Fatalf("caller %d: %v", i, err)
			}
		}
		// The failure stands for a while, without another attempt.
		err := h.Ping(t.Context())
		if !errors.Is(err, errDown) || e.opens.Load() != 1 {
			t.Errorf("right after the failure: %v after %d attempts", err, e.opens.Load())
		}
		changes, stop := h.Watch("k", "a")
		<-changes
		stop()
		changes, stop = h.WatchIndex("k", store.Index{Name: "n"})
		<-changes
		stop()
		time.Sleep(retryDelay)
		for i, err := range pingAll() {
			if err != nil {
				t.Fatalf("caller %d after the delay: %v", i, err)
			}
		}
		if e.opens.Load() != 2 {
			t.Errorf("opened %d times, want 2", e.opens.Load())
		}
	})
}

// Who waits for the store to open may leave; the attempt goes on for the
// others. Its own time is bounded.
func TestWaitingForOpenHonorsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fakeEngine{key: t.Name(), gate: make(chan struct{})}
		h := acquireT(t, e)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := h.Ping(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("first caller: %v", err)
		}
		close(e.gate)
		err = h.Ping(t.Context())
		if err != nil || e.opens.Load() != 1 {
			t.Errorf("second caller: %v after %d attempts", err, e.opens.Load())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := acquireT(t, &fakeEngine{key: t.Name(), gate: make(chan struct{})})
		begin := time.Now()
		err := h.Ping(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != openTimeout {
			t.Errorf("store that never opens: %v after %v", err, time.Since(begin))
		}
	})
}

// Releasing the last handle while the store is being opened leaves nothing
// open behind.
func TestReleaseWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fakeEngine{key: t.Name(), gate: make(chan struct{})}
		h := acquireT(t, e)
		pinged := make(chan error, 1)
		go func() { pinged <- h.Ping(t.Context()) }()
		synctest.Wait()
		err := h.Release()
		if err != nil {
			t.Error(err)
		}
		err = <-pinged
		if err == nil {
			t.Error("Ping succeeded on a store that was released")
		}
	})
}

// Reloads that come and go while requests are served: every request finds its
// records, and the file is never in its own way.
func TestBoltThroughReloads(t *testing.T) {
	defer goleak.VerifyNone(t)
	e := &Bolt{path: filepath.Join(t.TempDir(), "ciba.db")}
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			for n := range 15 {
				h, err := Acquire(caddy.Context{}, e)
				if err != nil {
					t.Error(err)
					return
				}
				r := &store.Record{Kind: "k", ID: fmt.Sprint(i, "-", n)}
				err = h.Create(t.Context(), r)
				if err != nil {
					t.Errorf("Create: %v", err)
				}
				held := h.Retain()
				err = h.Release()
				if err != nil {
					t.Errorf("Release: %v", err)
				}
				err = held.Update(t.Context(), r)
				if err != nil {
					t.Errorf("Update: %v", err)
				}
				err = held.Release()
				if err != nil {
					t.Errorf("Release: %v", err)
				}
			}
		})
	}
	done.Wait()
	_, inUse := pool.References(e.Key())
	if inUse {
		t.Error("references are left")
	}
}
