package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func testCreate(t *testing.T, f *fixture) {
	r := f.create(t, &store.Record{
		Kind:    "gateway.transaction",
		ID:      "a",
		Version: 7, // whatever it was, a new record starts at 1
		Data:    []byte("first"),
		Indexes: []store.Index{{Name: "caller", Value: "teller"}, {Name: "empty"}},
		Expires: f.in(time.Hour),
	})
	if r.Version != 1 {
		t.Errorf("Create set version %d, want 1", r.Version)
	}
	same(t, f.get(t, r.Kind, r.ID), r)

	second := &store.Record{Kind: r.Kind, ID: r.ID, Version: 9, Data: []byte("second")}
	want(t, "second Create", f.Create(t.Context(), second), store.ErrExists)
	if second.Version != 9 {
		t.Errorf("Create that failed changed the version to %d", second.Version)
	}
	same(t, f.get(t, r.Kind, r.ID), r)
}

func testCreateOverExpired(t *testing.T, f *fixture) {
	old := store.Index{Name: "n", Value: "old"}
	both := store.Index{Name: "n", Value: "both"}
	f.createShortLived(t)
	r := f.create(t, &store.Record{Kind: "k", ID: "a", Data: []byte("old"), Indexes: []store.Index{old, both}, Expires: f.in(time.Minute)})
	r.Data = []byte("older")
	f.update(t, r)
	f.advance(2 * time.Minute)

	next := f.create(t, &store.Record{Kind: "k", ID: "a", Data: []byte("new"), Indexes: []store.Index{both}})
	if next.Version != 1 {
		t.Errorf("record created over an expired one has version %d, want 1", next.Version)
	}
	same(t, f.get(t, "k", "a"), next)
	if got := f.ids(t, "k", old); got != nil {
		t.Errorf("entry of the expired predecessor still lists %q", got)
	}
	if got := f.ids(t, "k", both); !slices.Equal(got, []string{"a"}) {
		t.Errorf("List = %q, want a", got)
	}
	// The predecessor's expiry must not fall on the successor.
	f.advance(24 * time.Hour)
	for i := range 20 {
		f.create(t, &store.Record{Kind: "k", ID: fmt.Sprint("filler", i)})
	}
	same(t, f.get(t, "k", "a"), next)
}

func testGet(t *testing.T, f *fixture) {
	f.gone(t, "k", "a")
	r := f.create(t, &store.Record{Kind: "k", ID: "a", Expires: f.in(time.Minute)})
	same(t, f.get(t, "k", "a"), r)
	f.gone(t, "k", "b")
	f.gone(t, "other", "a")
	f.advance(2 * time.Minute)
	f.gone(t, "k", "a")
}

func testUpdate(t *testing.T, f *fixture) {
	r := f.create(t, &store.Record{Kind: "k", ID: "a", Data: []byte("1"), Indexes: []store.Index{{Name: "n", Value: "1"}}, Expires: f.in(time.Hour)})
	for i := range 5 {
		r.Data = []byte(fmt.Sprint("data ", i))
		r.Indexes = []store.Index{{Name: "n", Value: fmt.Sprint(i)}}
		r.Expires = f.in(time.Duration(i+1) * time.Hour)
		f.update(t, r)
		if r.Version != uint64(i)+2 {
			t.Errorf("Update set version %d, want %d", r.Version, i+2)
		}
		same(t, f.get(t, "k", "a"), r)
	}
	r.Data, r.Indexes, r.Expires = nil, nil, time.Time{}
	f.update(t, r)
	same(t, f.get(t, "k", "a"), r)
}

func testUpdateConflict(t *testing.T, f *fixture) {
	missing := &store.Record{Kind: "k", ID: "missing", Version: 1}
	want(t, "Update of a missing record", f.Update(t.Context(), missing), store.ErrNotFound)

	r := f.create(t, &store.Record{Kind: "k", ID: "a", Data: []byte("1")})
	stale := *r
	r.Data = []byte("2")
	f.update(t, r)
	for _, version := range []uint64{0, 1, 3, 1 << 62, 1<<64 - 1} {
		late := stale
		late.Version = version
		late.Data = []byte("late")
		want(t, fmt.Sprintf("Update at version %d", version), f.Update(t.Context(), &late), store.ErrConflict)
		if late.Version != version {
			t.Errorf("Update that failed changed the version to %d", late.Version)
		}
	}
	same(t, f.get(t, "k", "a"), r)
}

func testUpdateExpiry(t *testing.T, f *fixture) {
	f.createShortLived(t)
	longer := f.create(t, &store.Record{Kind: "k", ID: "longer", Expires: f.in(time.Minute)})
	shorter := f.create(t, &store.Record{Kind: "k", ID: "shorter", Expires: f.in(time.Hour)})
	never := f.create(t, &store.Record{Kind: "k", ID: "never", Expires: f.in(time.Minute)})
	longer.Expires = f.in(time.Hour)
	shorter.Expires = f.in(time.Minute)
	never.Expires = time.Time{}
	f.update(t, longer)
	f.update(t, shorter)
	f.update(t, never)

	f.advance(2 * time.Minute)
	same(t, f.get(t, "k", "longer"), longer)
	f.gone(t, "k", "shorter")
	want(t, "Update of an expired record", f.Update(t.Context(), shorter), store.ErrNotFound)
	want(t, "Delete of an expired record", f.Delete(t.Context(), "k", "shorter", 0), store.ErrNotFound)
	f.advance(2 * time.Hour)
	f.gone(t, "k", "longer")
	same(t, f.get(t, "k", "never"), never)
}

func testDelete(t *testing.T, f *fixture) {
	x := store.Index{Name: "n", Value: "v"}
	want(t, "Delete of a missing record", f.Delete(t.Context(), "k", "a", 0), store.ErrNotFound)

	r := f.create(t, &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{x}, Expires: f.in(time.Hour)})
	f.update(t, r)
	want(t, "Delete at a past version", f.Delete(t.Context(), "k", "a", 1), store.ErrConflict)
	want(t, "Delete at a future version", f.Delete(t.Context(), "k", "a", 3), store.ErrConflict)
	want(t, "Delete at an impossible version", f.Delete(t.Context(), "k", "a", 1<<64-1), store.ErrConflict)
	same(t, f.get(t, "k", "a"), r)
	want(t, "Delete at the version", f.Delete(t.Context(), "k", "a", 2), nil)
	f.gone(t, "k", "a")
	want(t, "second Delete", f.Delete(t.Context(), "k", "a", 2), store.ErrNotFound)
	if got := f.ids(t, "k", x); got != nil {
		t.Errorf("deleted record is still listed: %q", got)
	}

	again := f.create(t, &store.Record{Kind: "k", ID: "a"})
	if again.Version != 1 {
		t.Errorf("record created after Delete has version %d, want 1", again.Version)
	}
	want(t, "Delete of any version", f.Delete(t.Context(), "k", "a", 0), nil)
	f.gone(t, "k", "a")
}

// Kinds, ids, index names and values that would run into each other if they
// were only strung together.
func testUnlikeNames(t *testing.T, f *fixture) {
	keys := [][2]string{
		{"a", "bc"}, {"ab", "c"}, {"a", "b"}, {"a.b", "c"}, {"a", ".bc"}, {"a", "b:c"}, {"a", "b/c"}, {"a/b", "c"},
		{"a", "%"}, {"a", "_"}, {"a", "\x01"}, {"a", "\xff\xfe"}, {"a", "é"}, {"a", "e\u0301"}, {"a", "B"}, {"A", "b"},
		{"a", " b"}, {"a", "b "}, {"a", "'"}, {"a", `\`}, {"a", "\n"}, {strings.Repeat("k", store.MaxKind), strings.Repeat("i", store.MaxID)},
	}
	for i, key := range keys {
		f.create(t, &store.Record{Kind: key[0], ID: key[1], Data: []byte{byte(i)}, Indexes: []store.Index{
			{Name: key[0], Value: key[1]}, {Name: "all"},
		}})
	}
	for i, key := range keys {
		r := f.get(t, key[0], key[1])
		if r.Kind != key[0] || r.ID != key[1] || !bytes.Equal(r.Data, []byte{byte(i)}) {
			t.Errorf("record %d reads as %s", i, describe(r))
		}
		if got := f.ids(t, key[0], store.Index{Name: key[0], Value: key[1]}); !slices.Equal(got, []string{key[1]}) {
			t.Errorf("index entry %q lists %q", key, got)
		}
	}
	var all []string
	for _, key := range keys {
		if key[0] == "a" {
			all = append(all, key[1])
		}
	}
	slices.Sort(all)
	if got := f.ids(t, "a", store.Index{Name: "all"}); !slices.Equal(got, all) {
		t.Errorf("List is not ordered by the bytes of the ids:\ngot  %q\nwant %q", got, all)
	}
}

func testData(t *testing.T, f *fixture) {
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 100, 4095, 4096, 4097, 70_000, 3 << 20} {
		data := make([]byte, size)
		random.Read(data)
		r := f.create(t, &store.Record{Kind: "k", ID: fmt.Sprint(size), Data: data})
		same(t, f.get(t, r.Kind, r.ID), r)
		r.Data = append(slices.Clone(data), data...)
		f.update(t, r)
		same(t, f.get(t, r.Kind, r.ID), r)
	}
	f.create(t, &store.Record{Kind: "k", ID: "empty", Data: []byte{}})
	if got := f.get(t, "k", "empty").Data; got != nil {
		t.Errorf("empty data reads as %#v, want nil", got)
	}
}

func testCopies(t *testing.T, f *fixture) {
	x := store.Index{Name: "n", Value: "v"}
	pristine := &store.Record{Kind: "k", ID: "a", Data: []byte("data"), Indexes: []store.Index{x}}
	mine := &store.Record{Kind: "k", ID: "a", Data: []byte("data"), Indexes: []store.Index{x}}
	spoil := func(r *store.Record) {
		r.Kind, r.ID, r.Version, r.Expires = "spoiled", "spoiled", 99, f.in(-time.Hour)
		for i := range r.Data {
			r.Data[i] = '!'
		}
		for i := range r.Indexes {
			r.Indexes[i].Value = "spoiled"
		}
	}
	f.create(t, mine)
	pristine.Version = mine.Version
	spoil(mine)
	same(t, f.get(t, "k", "a"), pristine)

	mine = f.get(t, "k", "a")
	f.update(t, mine)
	pristine.Version = mine.Version
	spoil(mine)
	same(t, f.get(t, "k", "a"), pristine)

	spoil(f.get(t, "k", "a"))
	same(t, f.get(t, "k", "a"), pristine)
	spoil(f.list(t, "k", x, "", 1)[0])
	same(t, f.get(t, "k", "a"), pristine)
	same(t, f.list(t, "k", x, "", 1)[0], pristine)
}

func testLimits(t *testing.T, f *fixture) {
	long := func(n int) string { return strings.Repeat("x", n) }
	many := make([]store.Index, store.MaxIndexes+1)
	for i := range many {
		many[i] = store.Index{Name: "n", Value: fmt.Sprint(i)}
	}
	bad := []struct {
		name string
		r    *store.Record
	}{
		{"no record", nil},
		{"no kind", &store.Record{ID: "a"}},
		{"no id", &store.Record{Kind: "k"}},
		{"long kind", &store.Record{Kind: long(store.MaxKind + 1), ID: "a"}},
		{"long id", &store.Record{Kind: "k", ID: long(store.MaxID + 1)}},
		{"NUL in kind", &store.Record{Kind: "k\x00", ID: "a"}},
		{"NUL in id", &store.Record{Kind: "k", ID: "a\x00b"}},
		{"no index name", &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{{Value: "v"}}}},
		{"long index name", &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{{Name: long(store.MaxKind + 1)}}}},
		{"long index value", &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{{Name: "n", Value: long(store.MaxIndex + 1)}}}},
		{"NUL in index", &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{{Name: "n", Value: "v\x00"}}}},
		{"many indexes", &store.Record{Kind: "k", ID: "a", Indexes: many}},
		{"much data", &store.Record{Kind: "k", ID: "a", Data: make([]byte, store.MaxData+1)}},
	}
	for _, test := range bad {
		want(t, "Create with "+test.name, f.Create(t.Context(), test.r), store.ErrInvalid)
		want(t, "Update with "+test.name, f.Update(t.Context(), test.r), store.ErrInvalid)
	}
	f.gone(t, "k", "a")
	_, err := f.Get(t.Context(), "", "a")
	want(t, "Get without kind", err, store.ErrInvalid)
	want(t, "Delete without id", f.Delete(t.Context(), "k", "", 0), store.ErrInvalid)
	for _, limit := range []int{0, -1} {
		_, err = f.List(t.Context(), "k", store.Index{Name: "n"}, "", limit)
		want(t, "List without limit", err, store.ErrInvalid)
	}
	_, err = f.List(t.Context(), "k", store.Index{}, "", 1)
	want(t, "List without index name", err, store.ErrInvalid)
	_, err = f.List(t.Context(), "k", store.Index{Name: "n"}, long(store.MaxID+1), 1)
	want(t, "List after a long id", err, store.ErrInvalid)

	largest := &store.Record{Kind: long(store.MaxKind), ID: long(store.MaxID), Expires: f.in(time.Hour)}
	for i := range store.MaxIndexes {
		largest.Indexes = append(largest.Indexes, store.Index{Name: long(store.MaxKind), Value: fmt.Sprintf("%0*d", store.MaxIndex, i)})
	}
	f.create(t, largest)
	same(t, f.get(t, largest.Kind, largest.ID), largest)
	f.update(t, largest)
	same(t, f.list(t, largest.Kind, largest.Indexes[0], "", 1)[0], largest)
	want(t, "Delete of the largest record", f.Delete(t.Context(), largest.Kind, largest.ID, 2), nil)
}

func testExpiryRange(t *testing.T, f *fixture) {
	x := store.Index{Name: "n"}
	for i, past := range []time.Time{f.in(-time.Hour), time.Unix(0, 0), time.Unix(-5, 0), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)} {
		id := fmt.Sprint("past", i)
		f.create(t, &store.Record{Kind: "k", ID: id, Indexes: []store.Index{x}, Expires: past})
		f.gone(t, "k", id)
		// It is gone at once, so its place is free.
		f.create(t, &store.Record{Kind: "k", ID: id, Expires: f.in(time.Hour)})
	}
	if got := f.ids(t, "k", x); got != nil {
		t.Errorf("expired records are listed: %q", got)
	}
	far := f.create(t, &store.Record{Kind: "k", ID: "far", Expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)})
	same(t, f.get(t, "k", "far"), far)
	zoned := f.create(t, &store.Record{Kind: "k", ID: "zoned", Expires: f.in(time.Hour).In(time.FixedZone("", 3600))})
	got := f.get(t, "k", "zoned")
	same(t, got, zoned)
	if got.Expires.Location() != time.UTC {
		t.Errorf("expiry is read back in %v, want UTC", got.Expires.Location())
	}
}

// Enough records expire to make every engine sweep while it is in use.
func testManyExpire(t *testing.T, f *fixture) {
	x := store.Index{Name: "n"}
	kept := f.create(t, &store.Record{Kind: "k", ID: "kept", Indexes: []store.Index{x}})
	for round := range 4 {
		for i := range 100 {
			f.create(t, &store.Record{Kind: "k", ID: fmt.Sprint(round, "-", i), Indexes: []store.Index{x}, Expires: f.in(time.Minute)})
		}
		if got := len(f.ids(t, "k", x)); got != 101 {
			t.Fatalf("round %d lists %d records, want 101", round, got)
		}
		f.advance(2 * time.Minute)
		if got := f.ids(t, "k", x); !slices.Equal(got, []string{"kept"}) {
			t.Fatalf("after expiry List = %q", got)
		}
	}
	same(t, f.get(t, "k", "kept"), kept)
}
