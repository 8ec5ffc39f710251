// Package storetest is the suite that every engine of package store passes.
// An engine's own test calls [Run], and [RunShared] if several nodes can share
// its data.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// patience is how long a test waits for what must happen. It is only used up
// by a test that fails.
const patience = 10 * time.Second

// Factory makes an empty store and a function that moves the clock by which
// its records expire forward. The clock starts near time.Now. The factory
// registers its own cleanup; a test may have closed the store before.
type Factory func(t *testing.T) (s store.Store, advance func(time.Duration))

// Run runs the suite on stores made by the factory, one for each test.
func Run(t *testing.T, factory Factory) {
	tests := []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"create", testCreate},
		{"create over expired", testCreateOverExpired},
		{"get", testGet},
		{"update", testUpdate},
		{"update conflict", testUpdateConflict},
		{"update expiry", testUpdateExpiry},
		{"delete", testDelete},
		{"unlike names", testUnlikeNames},
		{"data", testData},
		{"copies", testCopies},
		{"limits", testLimits},
		{"past and far expiry", testExpiryRange},
		{"many expire", testManyExpire},
		{"list", testList},
		{"list pages", testListPages},
		{"list moves", testListMoves},
		{"list expired", testListExpired},
		{"watch", testWatch},
		{"watch index", testWatchIndex},
		{"watch merges", testWatchMerges},
		{"watch stop", testWatchStop},
		{"watch misses nothing", testWatchMissesNothing},
		{"ended context", testEndedContext},
		{"ping", testPing},
		{"close", testClose},
		{"close under load", testCloseUnderLoad},
		{"create race", testCreateRace},
		{"create race over expired", testCreateRaceOverExpired},
		{"update race", testUpdateRace},
		{"delete race", testDeleteRace},
		{"update during create", testUpdateDuringCreate},
		{"counter", testCounter},
		{"relaxed", testRelaxed},
		{"relaxed counter", testRelaxedCounter},
		{"relaxed create race", testRelaxedCreateRace},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, advance := factory(t)
			test.run(t, &fixture{Store: s, start: time.Now(), advanceBy: advance})
		})
	}
}

// fixture is a store under test with the time of its clock.
type fixture struct {
	store.Store
	start     time.Time
	advanced  time.Duration
	advanceBy func(time.Duration)
}

// in returns the time d from now by the store's clock. The store's clock may
// run by itself, so tests use spans far longer than they take.
func (f *fixture) in(d time.Duration) time.Time {
	return f.start.Add(f.advanced + d)
}

func (f *fixture) advance(d time.Duration) {
	f.advanced += d
	f.advanceBy(d)
}

func (f *fixture) create(t *testing.T, r *store.Record) *store.Record {
	t.Helper()
	err := f.Create(t.Context(), r)
	if err != nil {
		t.Fatalf("Create(%q, %q): %v", r.Kind, r.ID, err)
	}
	return r
}

// createShortLived makes records that expire before any other of the test, so
// that an engine which sweeps a little on each write has not come to those of
// the test when it meets them expired.
func (f *fixture) createShortLived(t *testing.T) {
	t.Helper()
	for i := range 50 {
		f.create(t, &store.Record{Kind: "short-lived", ID: fmt.Sprint(i), Expires: f.in(30 * time.Second)})
	}
}

func (f *fixture) update(t *testing.T, r *store.Record) *store.Record {
	t.Helper()
	err := f.Update(t.Context(), r)
	if err != nil {
		t.Fatalf("Update(%q, %q): %v", r.Kind, r.ID, err)
	}
	return r
}

func (f *fixture) get(t *testing.T, kind, id string) *store.Record {
	t.Helper()
	r, err := f.Get(t.Context(), kind, id)
	if err != nil {
		t.Fatalf("Get(%q, %q): %v", kind, id, err)
	}
	return r
}

func (f *fixture) gone(t *testing.T, kind, id string) {
	t.Helper()
	r, err := f.Get(t.Context(), kind, id)
	want(t, "Get of a record that should be gone", err, store.ErrNotFound)
	if r != nil {
		t.Errorf("Get returned a record beside its error: %+v", r)
	}
}

// ids lists the whole index in one page and returns the ids.
func (f *fixture) ids(t *testing.T, kind string, index store.Index) []string {
	t.Helper()
	return ids(f.list(t, kind, index, "", 1000))
}

func (f *fixture) list(t *testing.T, kind string, index store.Index, after string, limit int) []*store.Record {
	t.Helper()
	records, err := f.List(t.Context(), kind, index, after, limit)
	if err != nil {
		t.Fatalf("List(%q, %v): %v", kind, index, err)
	}
	return records
}

func ids(records []*store.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, r.ID)
	}
	return out
}

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: got error %v, want %v", what, err, target)
	}
}

// same compares all that a record carries.
func same(t *testing.T, got, wanted *store.Record) {
	t.Helper()
	if got.Kind != wanted.Kind || got.ID != wanted.ID || got.Version != wanted.Version ||
		!bytes.Equal(got.Data, wanted.Data) || !slices.Equal(got.Indexes, wanted.Indexes) ||
		!got.Expires.Equal(wanted.Expires.Truncate(time.Millisecond)) {
		t.Errorf("got  %s\nwant %s", describe(got), describe(wanted))
	}
}

func describe(r *store.Record) string {
	return fmt.Sprintf("%q %q version %d, %d bytes %.40q, indexes %q, expires %v",
		r.Kind, r.ID, r.Version, len(r.Data), r.Data, r.Indexes, r.Expires)
}

// awake waits for a wake-up.
func awake(t *testing.T, what string, changes <-chan struct{}) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(patience):
		t.Fatalf("%s: no wake-up", what)
	}
}

func testPing(t *testing.T, f *fixture) {
	for range 3 {
		err := f.Ping(t.Context())
		if err != nil {
			t.Fatalf("Ping: %v", err)
		}
	}
	// Ping leaves no trace among the records.
	f.create(t, &store.Record{Kind: "k", ID: "a"})
	f.get(t, "k", "a")
}

func testEndedContext(t *testing.T, f *fixture) {
	kept := f.create(t, &store.Record{Kind: "k", ID: "kept", Data: []byte("x")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Get(ctx, "k", "kept")
	want(t, "Get", err, context.Canceled)
	want(t, "Create", f.Create(ctx, &store.Record{Kind: "k", ID: "new"}), context.Canceled)
	changed := *kept
	changed.Data = []byte("y")
	want(t, "Update", f.Update(ctx, &changed), context.Canceled)
	if changed.Version != 1 {
		t.Errorf("Update that failed changed the version to %d", changed.Version)
	}
	want(t, "Delete", f.Delete(ctx, "k", "kept", 0), context.Canceled)
	_, err = f.List(ctx, "k", store.Index{Name: "n"}, "", 1)
	want(t, "List", err, context.Canceled)
	want(t, "Ping", f.Ping(ctx), context.Canceled)
	// A context that had ended before the call writes nothing.
	f.gone(t, "k", "new")
	same(t, f.get(t, "k", "kept"), kept)
}
