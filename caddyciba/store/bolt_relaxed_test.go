package store

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

func relaxedRecord(id string, expires time.Time) *Record {
	return &Record{Kind: "k", ID: id, Data: []byte(id), Indexes: []Index{journalIndex}, Expires: expires, Relaxed: true}
}

// reopen opens what a crash at this moment would leave behind.
func reopen(t *testing.T, b *Bolt) *Bolt {
	t.Helper()
	after, err := OpenBolt(copyFiles(t, b), BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { after.Close() })
	return after
}

// wantVersion checks the version of a record; 0 means that there is none.
func wantVersion(t *testing.T, what string, b *Bolt, id string, want uint64) {
	t.Helper()
	r, err := b.Get(t.Context(), "k", id)
	var got uint64
	switch {
	case err == nil:
		got = r.Version
	case !errors.Is(err, ErrNotFound):
		t.Errorf("%s: %s: %v", what, id, err)
	}
	if got != want {
		t.Errorf("%s: %s has version %d, want %d", what, id, got, want)
	}
}

// A crash undoes relaxed writes at most: a firm write on top of one stays, whole,
// and a firm one below one is there again.
func TestCrashUndoesRelaxedWritesOnly(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	soon, later := time.Now().Add(time.Second), time.Now().Add(time.Hour)
	below := relaxedRecord("below", later)
	below.Relaxed = false
	above := relaxedRecord("above", later)
	err := errors.Join(
		b.Create(ctx, relaxedRecord("soon", soon)), b.Create(ctx, relaxedRecord("later", later)),
		b.Create(ctx, below), b.Create(ctx, above))
	below.Relaxed, above.Relaxed = true, false
	err = errors.Join(err, b.Update(ctx, below), b.Update(ctx, above))
	if err != nil {
		t.Fatal(err)
	}
	after := reopen(t, b)
	for id, version := range map[string]uint64{"soon": 0, "later": 0, "below": 1, "above": 2} {
		wantVersion(t, "after a crash", after, id, version)
	}

	// A fold takes along what lives longer, and what the journal knew.
	b.writing.Lock()
	err = b.fold(time.Minute)
	b.writing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	wantVersion(t, "after a fold", b, "soon", 1)
	after = reopen(t, b)
	for id, version := range map[string]uint64{"soon": 0, "later": 1, "below": 2, "above": 2} {
		wantVersion(t, "after a fold and a crash", after, id, version)
	}
}

// Close writes down what is relaxed, however short it lives.
func TestCloseKeepsRelaxedWrites(t *testing.T) {
	path := t.TempDir() + "/ciba.db"
	now := time.Now()
	o := BoltOptions{Now: func() time.Time { return now }}
	b, err := OpenBolt(path, o)
	if err == nil {
		err = errors.Join(b.Create(t.Context(), relaxedRecord("soon", now.Add(time.Millisecond))), b.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err = OpenBolt(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	wantVersion(t, "reopened", b, "soon", 1)
}

// What has expired or was deleted before it was to be moved costs the database
// nothing, and what the database knows does not come back.
func TestGoneRecordsDoNotMove(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	now := time.Now()
	b.now = func() time.Time { return now }
	known := relaxedRecord("known", now.Add(time.Hour))
	err := b.Create(ctx, known)
	if err != nil {
		t.Fatal(err)
	}
	if n := keys(t, b, recordBucket); n != 1 {
		t.Fatalf("%d records", n)
	}
	known.Expires = now.Add(time.Second)
	firm := relaxedRecord("firm", now.Add(time.Second))
	firm.Relaxed = false
	err = errors.Join(b.Update(ctx, known), b.Create(ctx, firm), b.Create(ctx, relaxedRecord("new", now.Add(time.Second))),
		b.Create(ctx, &Record{Kind: "k", ID: "deleted"}), b.Delete(ctx, "k", "deleted", 1))
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if n := keys(t, b, recordBucket); n != 1 {
		t.Errorf("%d records, want the known one alone", n)
	}
	wantVersion(t, "expired", b, "known", 0)
	b.sweep(true)
	if n := keys(t, b, recordBucket) + keys(t, b, indexBucket) + keys(t, b, expiryBucket); n != 0 {
		t.Errorf("%d keys after the sweep", n)
	}
}

// While the disk takes nothing, relaxed writes are refused like all others: they
// would gather in memory without end.
func TestRelaxedWritesNeedTheDisk(t *testing.T) {
	b := openTestBolt(t)
	err := os.Rename(b.path, b.path+".away")
	if err != nil {
		t.Fatal(err)
	}
	err = b.Create(t.Context(), relaxedRecord("first", time.Time{}))
	if err != nil {
		t.Fatal(err)
	}
	b.sweep(true)
	err = b.Create(t.Context(), relaxedRecord("second", time.Time{}))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Create without file: %v", err)
	}
	wantVersion(t, "without file", b, "first", 1)
	err = os.Rename(b.path+".away", b.path)
	if err != nil {
		t.Fatal(err)
	}
	b.sweep(true)
	err = b.Create(t.Context(), relaxedRecord("second", time.Time{}))
	if err != nil {
		t.Errorf("with the file back: %v", err)
	}
	if n := keys(t, b, recordBucket); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

// Writes of both sorts and folds at the same time lose nothing, and what is read
// never goes backwards.
func TestFoldsDuringRelaxedWrites(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	const writers, updates = 8, 150
	stop := make(chan struct{})
	var folds, done sync.WaitGroup
	folds.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				b.sweep(n%2 == 0)
			}
		}
	})
	for writer := range writers {
		done.Go(func() {
			r := relaxedRecord(fmt.Sprint(writer), time.Now().Add(time.Duration(writer%2)*time.Hour+time.Minute))
			err := b.Create(ctx, r)
			for n := 0; err == nil && n < updates; n++ {
				r.Relaxed = n%5 != 0
				err = b.Update(ctx, r)
				page, listErr := b.List(ctx, "k", journalIndex, "", 2*writers)
				err = errors.Join(err, listErr)
				for _, p := range page {
					if p.ID == r.ID && p.Version != r.Version {
						err = errors.Join(err, fmt.Errorf("version %d is listed as %d", r.Version, p.Version))
					}
				}
				got, getErr := b.Get(ctx, "k", r.ID)
				err = errors.Join(err, getErr)
				if getErr == nil && got.Version != r.Version {
					err = errors.Join(err, fmt.Errorf("version %d is read as %d", r.Version, got.Version))
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	close(stop)
	folds.Wait()
	for writer := range writers {
		wantVersion(t, "in the end", b, fmt.Sprint(writer), updates+1)
	}
	if n := keys(t, b, recordBucket); n != writers {
		t.Errorf("%d records, want %d", n, writers)
	}
}

// A sweep that moves nothing makes durable what is relaxed and lasts, forgets what is
// gone, and leaves alone what the database has of a record that was prolonged.
func TestSweepWithoutFold(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	now := time.Now()
	b.now = func() time.Time { return now }
	prolonged := relaxedRecord("prolonged", now.Add(time.Second))
	prolonged.Relaxed = false
	err := b.Create(ctx, prolonged)
	if err != nil {
		t.Fatal(err)
	}
	keys(t, b, recordBucket)
	prolonged.Expires, prolonged.Relaxed = now.Add(time.Hour), true
	err = errors.Join(b.Update(ctx, prolonged),
		b.Create(ctx, relaxedRecord("soon", now.Add(time.Second))), b.Create(ctx, relaxedRecord("later", now.Add(time.Hour))))
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	for range 2 { // the first removes what the database has of the prolonged one
		b.sweep(false)
	}
	if n := len(b.recent.fresh.changes); n != 2 || b.recent.firm() != 2 {
		t.Errorf("%d changes are left, %d of them firm, want 2", n, b.recent.firm())
	}
	for what, b := range map[string]*Bolt{"here": b, "after a crash": reopen(t, b)} {
		for id, version := range map[string]uint64{"prolonged": 2, "soon": 0, "later": 1} {
			wantVersion(t, what, b, id, version)
		}
		page, err := b.List(ctx, "k", journalIndex, "", 10)
		if err != nil || len(page) != 2 {
			t.Errorf("%s: listed %d, %v", what, len(page), err)
		}
	}
	if n := keys(t, b, recordBucket); n != 2 {
		t.Errorf("%d records in the end, want 2", n)
	}
}
