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

// Writes give the memory of expired records back.
func TestMemorySweeps(t *testing.T) {
	c := newClock()
	s := store.NewMemory(store.Options{Now: c.Now})
	for i := range 1000 {
		err := s.Create(t.Context(), &store.Record{
			Kind: "k", ID: fmt.Sprint(i), Indexes: []store.Index{{Name: "n", Value: fmt.Sprint(i % 10)}}, Expires: c.Now().Add(time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Hour)
	for i := range 500 {
		err := s.Create(t.Context(), &store.Record{Kind: "other", ID: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Len(); got != 500 {
		t.Errorf("store holds %d records, want the 500 live ones", got)
	}
}
