package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/storetest"
)

func openBolt(t *testing.T, path string, o store.BoltOptions) *store.Bolt {
	t.Helper()
	b, err := store.OpenBolt(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := b.Close()
		if err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

func boltPath(t *testing.T) string { return filepath.Join(t.TempDir(), "ciba.db") }

func TestBolt(t *testing.T) {
	defer goleak.VerifyNone(t)
	storetest.Run(t, func(t *testing.T) (store.Store, func(time.Duration)) {
		c := newClock()
		// Sweeping all the time must not disturb anything.
		return openBolt(t, boltPath(t), store.BoltOptions{Now: c.Now, SweepInterval: time.Millisecond}), c.Advance
	})
}

func TestBoltExpiryIsExact(t *testing.T) {
	c := newClock()
	testExpiryIsExact(t, openBolt(t, boltPath(t), store.BoltOptions{Now: c.Now}), c)
}

func TestBoltReopens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "inside", "ciba.db")
	c := newClock()
	x := store.Index{Name: "state", Value: "held"}
	r := &store.Record{Kind: "k", ID: "a", Data: []byte("data"), Indexes: []store.Index{x}, Expires: c.Now().Add(time.Hour)}
	for round := range 3 {
		s, err := store.OpenBolt(path, store.BoltOptions{Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			err = s.Create(t.Context(), r)
		} else {
			err = s.Update(t.Context(), r)
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		err = s.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := openBolt(t, path, store.BoltOptions{Now: c.Now})
	page, err := s.List(t.Context(), "k", x, "", 2)
	if err != nil || len(page) != 1 || page[0].Version != 3 || string(page[0].Data) != "data" {
		t.Errorf("after three openings List = %v, %v", page, err)
	}
	c.Advance(2 * time.Hour)
	_, err = s.Get(t.Context(), "k", "a")
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the expiry was lost: %v", err)
	}
}

func TestBoltFileIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	path := filepath.Join(dir, "ciba.db")
	openBolt(t, path, store.BoltOptions{})
	for name, want := range map[string]os.FileMode{path: 0o600, dir: 0o700 | os.ModeDir} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

func TestBoltIsLocked(t *testing.T) {
	path := boltPath(t)
	first, err := store.OpenBolt(path, store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.OpenBolt(path, store.BoltOptions{LockTimeout: 100 * time.Millisecond})
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("second opening: got %v, want ErrLocked", err)
	}
	// The second one gets the file as soon as the first lets go.
	opened := make(chan error, 1)
	go func() {
		second, err := store.OpenBolt(path, store.BoltOptions{LockTimeout: time.Minute})
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	err = first.Close()
	if err != nil {
		t.Fatal(err)
	}
	err = <-opened
	if err != nil {
		t.Errorf("opening after the other closed: %v", err)
	}
}
