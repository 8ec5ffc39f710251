package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/storetest"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestMemory(t *testing.T) {
	defer goleak.VerifyNone(t)
	storetest.Run(t, func(t *testing.T) (store.Store, func(time.Duration)) {
		c := newClock()
		return store.NewMemory(store.Options{Now: c.Now}), c.Advance
	})
}

// A record exists until the millisecond before its expiry, whatever the
// fraction.
func TestMemoryExpiryIsExact(t *testing.T) {
	c := newClock()
	testExpiryIsExact(t, store.NewMemory(store.Options{Now: c.Now}), c)
}

func testExpiryIsExact(t *testing.T, s store.Store, c *clock) {
	t.Helper()
	c.Advance(c.Now().Truncate(time.Second).Add(time.Second).Sub(c.Now()))
	err := s.Create(t.Context(), &store.Record{Kind: "k", ID: "a", Expires: c.Now().Add(5*time.Millisecond + 999*time.Microsecond)})
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(5*time.Millisecond - time.Nanosecond)
	_, err = s.Get(t.Context(), "k", "a")
	if err != nil {
		t.Errorf("just before its expiry: %v", err)
	}
	c.Advance(time.Nanosecond)
	_, err = s.Get(t.Context(), "k", "a")
	if err == nil {
		t.Error("the record exists at its expiry")
	}
}

// Writes give the memory of expired records back, whichever way their expiry
// was changed.
func TestMemorySweeps(t *testing.T) {
	c := newClock()
	s := store.NewMemory(store.Options{Now: c.Now})
	const count = 1000
	for i := range count {
		r := &store.Record{
			Kind: "k", ID: fmt.Sprint(i), Indexes: []store.Index{{Name: "n", Value: fmt.Sprint(i % 10)}},
			Expires: c.Now().Add(time.Duration(i) * time.Minute),
		}
		if i%4 == 0 {
			r.Expires = time.Time{}
		}
		err := s.Create(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		// Turn the order around, and let some live that should have expired
		// and the other way round.
		r.Expires = c.Now().Add(time.Duration(count-i) * time.Minute)
		if i%4 == 1 {
			r.Expires = time.Time{}
		}
		err = s.Update(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(n int) {
		for range n {
			r := &store.Record{Kind: "other", ID: "a"}
			err := s.Create(t.Context(), r)
			if err == nil {
				err = s.Delete(t.Context(), "other", "a", 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		advance time.Duration
		left    int
	}{
		{count/2*time.Minute + time.Second, count/4 + count*3/8},
		{count * time.Minute, count / 4},
	} {
		c.Advance(step.advance)
		write(count)
		if got := s.Len(); got != step.left {
			t.Errorf("store holds %d records, want the %d live ones", got, step.left)
		}
	}
}
