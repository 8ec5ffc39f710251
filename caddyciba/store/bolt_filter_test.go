package store

import (
	"fmt"
	"testing"
	"time"
)

// A filter never denies what was added, and seldom takes what was not.
func TestFilter(t *testing.T) {
	const names = leastFiltered
	f := newBoltFilter(0)
	for i := range names {
		f.add(fmt.Append(nil, "there ", i))
	}
	if f.room != 0 {
		t.Errorf("room for %d more", f.room)
	}
	mistaken := 0
	for i := range names {
		if !f.mayHave(fmt.Append(nil, "there ", i)) {
			t.Fatalf("name %d is denied", i)
		}
		if f.mayHave(fmt.Append(nil, "elsewhere ", i)) {
			mistaken++
		}
	}
	if mistaken > names/100 {
		t.Errorf("%d of %d names that are not there may be there", mistaken, names)
	}
	var none *boltFilter
	if !none.mayHave([]byte("x")) {
		t.Error("a filter that knows nothing denies a name")
	}
}

// The filter of a file that is opened, and the one that is made when there is no
// room left, know what is in the database.
func TestFilterIsRead(t *testing.T) {
	b := openTestBolt(t)
	now := time.Now()
	b.now = func() time.Time { return now }
	for i := range 50 {
		r := testRecord()
		r.ID = fmt.Sprint(i)
		r.Indexes = append(r.Indexes, Index{"own", r.ID})
		err := b.Create(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, b *Bolt) {
		t.Helper()
		b.recent.clear() // all must come from the database
		for i := range 50 {
			id := fmt.Sprint(i)
			_, err := b.Get(t.Context(), "k", id)
			page, listErr := b.List(t.Context(), "k", Index{"own", id}, "", 5)
			if err != nil || listErr != nil || len(page) != 1 {
				t.Fatalf("%s: record %d: %v, listed %d (%v)", what, i, err, len(page), listErr)
			}
		}
		page, err := b.List(t.Context(), "k", Index{"state", "held"}, "", 100)
		if err != nil || len(page) != 50 {
			t.Fatalf("%s: listed %d (%v)", what, len(page), err)
		}
	}
	before := b.filter.Load()
	before.room = 0
	fold(t, b)
	if b.filter.Load() == before {
		t.Error("the filter was not made anew when there was no room left")
	}
	check("after a fold", b)
	check("after opening", reopen(t, b))
	for _, name := range []string{"k\x00none", "k\x00own\x0077\x00"} {
		if b.filter.Load().mayHave([]byte(name)) {
			t.Errorf("%q may be there", name)
		}
	}
}

// A turn waits for the writers that were there lately, finds out that there are
// more, and forgets those who have left.
func TestExpectedWriters(t *testing.T) {
	var e expectation
	turns := func(n, came, waiting int) {
		for range n {
			e.learn(min(came, max(e.writers, 1)), waiting)
		}
	}
	turns(1, 1, 0)
	if e.writers != 1 {
		t.Errorf("a lone writer waits for %d", e.writers)
	}
	turns(20, 1, 0)
	if e.writers != 1 {
		t.Errorf("a lone writer waits for %d later", e.writers)
	}
	turns(1, 1, 3)
	if e.writers != 4 {
		t.Errorf("of one and three more, %d are expected", e.writers)
	}
	turns(100, 16, 0)
	if e.writers < 16 || e.writers > 17 {
		t.Errorf("of 16 writers, %d are expected", e.writers)
	}
	turns(8, 1, 0)
	if e.writers > 2 {
		t.Errorf("when one writer is left, %d are expected", e.writers)
	}
}
