package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func testList(t *testing.T, f *fixture) {
	user := store.Index{Name: "user", Value: "alice"}
	state := store.Index{Name: "state", Value: "pending"}
	a := f.create(t, &store.Record{Kind: "k", ID: "a", Data: []byte("A"), Indexes: []store.Index{user, state}, Expires: f.in(time.Hour)})
	b := f.create(t, &store.Record{Kind: "k", ID: "b", Indexes: []store.Index{state, user, state, user}})
	f.create(t, &store.Record{Kind: "k", ID: "c", Indexes: []store.Index{{Name: "user", Value: "bob"}, state}})
	f.create(t, &store.Record{Kind: "k", ID: "d"})
	f.create(t, &store.Record{Kind: "other", ID: "a", Indexes: []store.Index{user}})

	// An entry given twice counts once, and the order is kept.
	b.Indexes = []store.Index{state, user}
	same(t, f.get(t, "k", "b"), b)
	page := f.list(t, "k", user, "", 10)
	if len(page) != 2 {
		t.Fatalf("List = %q, want a and b", ids(page))
	}
	same(t, page[0], a)
	same(t, page[1], b)
	for _, test := range []struct {
		kind  string
		index store.Index
		want  []string
	}{
		{"k", state, []string{"a", "b", "c"}},
		{"other", user, []string{"a"}},
		{"k", store.Index{Name: "user"}, nil},
		{"k", store.Index{Name: "user", Value: "ali"}, nil},
		{"k", store.Index{Name: "user", Value: "alicea"}, nil},
		{"k", store.Index{Name: "use", Value: "alice"}, nil},
		{"none", user, nil},
	} {
		if got := f.ids(t, test.kind, test.index); !slices.Equal(got, test.want) {
			t.Errorf("List(%q, %v) = %q, want %q", test.kind, test.index, got, test.want)
		}
	}
}

func testListPages(t *testing.T, f *fixture) {
	x := store.Index{Name: "n", Value: "v"}
	var all []string
	for i := range 25 {
		id := fmt.Sprintf("%02d", (i*7)%25)
		f.create(t, &store.Record{Kind: "k", ID: id, Indexes: []store.Index{x}})
		all = append(all, id)
	}
	slices.Sort(all)
	for _, limit := range []int{1, 7, 24, 25, 26} {
		var got []string
		after := ""
		for {
			page := ids(f.list(t, "k", x, after, limit))
			got = append(got, page...)
			if len(page) < limit {
				break
			}
			after = page[len(page)-1]
		}
		if !slices.Equal(got, all) {
			t.Errorf("pages of %d give %q", limit, got)
		}
	}
	// The id to list after need not exist.
	if got := ids(f.list(t, "k", x, "099", 2)); !slices.Equal(got, []string{"10", "11"}) {
		t.Errorf("List after 099 = %q", got)
	}
	if got := ids(f.list(t, "k", x, "24", 2)); got != nil {
		t.Errorf("List after the last = %q", got)
	}
}

func testListMoves(t *testing.T, f *fixture) {
	pending := store.Index{Name: "state", Value: "pending"}
	done := store.Index{Name: "state", Value: "done"}
	user := store.Index{Name: "user", Value: "alice"}
	r := f.create(t, &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{pending, user}})
	check := func(index store.Index, want ...string) {
		t.Helper()
		if got := f.ids(t, "k", index); !slices.Equal(got, want) {
			t.Errorf("List(%v) = %q, want %q", index, got, want)
		}
	}
	check(pending, "a")
	check(user, "a")
	r.Indexes = []store.Index{user, done}
	f.update(t, r)
	check(pending)
	check(done, "a")
	check(user, "a")

	// A write that fails moves nothing.
	stale := *r
	stale.Version = 1
	stale.Indexes = []store.Index{pending}
	want(t, "stale Update", f.Update(t.Context(), &stale), store.ErrConflict)
	want(t, "Create", f.Create(t.Context(), &stale), store.ErrExists)
	check(pending)
	check(done, "a")

	r.Indexes = nil
	f.update(t, r)
	check(done)
	check(user)
	r.Indexes = []store.Index{pending}
	f.update(t, r)
	check(pending, "a")
	want(t, "Delete", f.Delete(t.Context(), "k", "a", 0), nil)
	check(pending)
}

func testListExpired(t *testing.T, f *fixture) {
	x := store.Index{Name: "n"}
	// Expired records in front of and between the live ones must not shorten
	// a page, or a caller would take it for the last one.
	for i := range 20 {
		r := &store.Record{Kind: "k", ID: fmt.Sprintf("%02d", i), Indexes: []store.Index{x}}
		if i%5 != 4 {
			r.Expires = f.in(time.Minute)
		}
		f.create(t, r)
	}
	f.advance(2 * time.Minute)
	if got := ids(f.list(t, "k", x, "", 2)); !slices.Equal(got, []string{"04", "09"}) {
		t.Errorf("first page = %q", got)
	}
	if got := ids(f.list(t, "k", x, "09", 2)); !slices.Equal(got, []string{"14", "19"}) {
		t.Errorf("second page = %q", got)
	}
}
