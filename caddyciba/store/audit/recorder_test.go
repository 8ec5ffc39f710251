package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func newKeeper(s store.Store) *Keeper {
	flip := func(_ context.Context, _ string, data []byte) ([]byte, error) {
		flipped := slices.Clone(data)
		for i := range flipped {
			flipped[i] ^= 0x55
		}
		return flipped, nil
	}
	return &Keeper{Store: s, Kind: "test.audit", Seal: flip, Open: flip}
}

// Nodes that need the first key at once have the same one, and it does not lie in the
// store as it is.
func TestKeeperKey(t *testing.T) {
	s := store.NewMemory(store.Options{})
	defer s.Close()
	var mu sync.Mutex
	seen := make(map[string]bool)
	var nodes sync.WaitGroup
	for range 16 {
		nodes.Go(func() {
			key, err := newKeeper(s).Key(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[string(key.Seed())] = true
		})
	}
	nodes.Wait()
	record, err := s.Get(t.Context(), "test.audit", keyRecord)
	if err != nil || len(seen) != 1 || seen[string(record.Data)] {
		t.Errorf("%d keys, %v", len(seen), err)
	}
}

// A log that was cut off while nobody wrote is found out by what the store keeps, and
// another key would not verify it.
func TestRecorder(t *testing.T) {
	s := store.NewMemory(store.Options{})
	defer s.Close()
	cfg := RecorderConfig{Path: testConfig(t).Path, Node: "n", Keeper: newKeeper(s)}
	var signed []Checkpoint
	cfg.Signed = func(c Checkpoint) { signed = append(signed, c) }
	r := NewRecorder(cfg)
	if _, _, last := r.Status(); last.Seq != 0 {
		t.Errorf("something was written: %v", last)
	}
	append1 := func(r *Recorder, event string) {
		t.Helper()
		err := r.Append(t.Context(), Entry{Event: event}, true)
		if err != nil {
			t.Fatal(err)
		}
	}
	append1(r, "approved")
	before := read(t, cfg.Path)
	append1(r, "sent")
	err := r.Close()
	if err != nil {
		t.Fatal(err)
	}
	err = r.Append(t.Context(), Entry{Event: "late"}, true)
	if !errors.Is(err, ErrClosed) {
		t.Errorf("error is %v", err)
	}
	last, err := cfg.Keeper.Last(t.Context(), r.place())
	if err != nil || last != signed[len(signed)-1] {
		t.Errorf("kept %v, signed %v, %v", last, signed, err)
	}
	err = os.WriteFile(cfg.Path, before, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	again := NewRecorder(cfg)
	append1(again, "requested")
	err = again.Close()
	if err != nil {
		t.Fatal(err)
	}
	key, err := cfg.Keeper.Key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(Expect{Key: key.Public().(ed25519.PublicKey)}, cfg.Path)
	if err != nil || len(report.Truncated) != 1 {
		t.Errorf("report %+v, %v", report, err)
	}
}

// Without the store there is no key, and without the key no entry. It comes back by
// itself.
func TestRecorderWithoutStore(t *testing.T) {
	s := store.NewMemory(store.Options{})
	keeper := newKeeper(s)
	down := true
	open := keeper.Open
	keeper.Open = func(ctx context.Context, id string, sealed []byte) ([]byte, error) {
		if down {
			return nil, errors.New("store is down")
		}
		return open(ctx, id, sealed)
	}
	var failed error
	r := NewRecorder(RecorderConfig{Path: testConfig(t).Path, Node: "n", Keeper: keeper, Failed: func(err error) { failed = err }})
	err := r.Append(t.Context(), Entry{Event: "sent"}, true)
	if err == nil {
		t.Error("an entry was written")
	}
	down = false
	err = r.Append(t.Context(), Entry{Event: "sent"}, true)
	if err != nil {
		t.Error(err)
	}
	err = s.Close()
	if err != nil {
		t.Fatal(err)
	}
	err = r.Close()
	if err != nil || failed == nil {
		t.Errorf("closed with %v, and told of %v", err, failed)
	}
}
