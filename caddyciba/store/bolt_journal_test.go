package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

var journalIndex = Index{Name: "state", Value: "held"}

// copyFiles copies a store as it lies on the disk at this moment: what a crash
// would leave behind.
func copyFiles(t *testing.T, b *Bolt) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-journal"} {
		data, err := os.ReadFile(b.path + suffix)
		if err == nil {
			err = os.WriteFile(to+suffix, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// frames writes n records, each in a frame of its own, and returns where the
// frames end.
func frames(t *testing.T, b *Bolt, n int) (ends []int64) {
	t.Helper()
	for i := range n {
		r := &Record{Kind: "k", ID: fmt.Sprint(i), Data: []byte(strings.Repeat("x", 3000*i)), Indexes: []Index{journalIndex}}
		err := b.Create(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		b.writing.Lock()
		ends = append(ends, b.journal.end)
		b.writing.Unlock()
	}
	return ends
}

func TestJournalIsReadAfterCrash(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	frames(t, b, 3)
	changed := &Record{Kind: "k", ID: "1", Version: 1, Data: []byte("changed")}
	err := errors.Join(b.Update(ctx, changed), b.Delete(ctx, "k", "2", 1), b.Ping(ctx))
	if err != nil {
		t.Fatal(err)
	}
	path := copyFiles(t, b)
	for range 2 { // and is not read again
		after, err := OpenBolt(path, BoltOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := after.Get(ctx, "k", "1")
		if err != nil || got.Version != 2 || string(got.Data) != "changed" {
			t.Errorf("Get = %v, %v", got, err)
		}
		_, err = after.Get(ctx, "k", "2")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("a deleted record is back: %v", err)
		}
		page, err := after.List(ctx, "k", journalIndex, "", 10)
		if err != nil || len(page) != 1 || page[0].ID != "0" {
			t.Errorf("List = %v, %v", page, err)
		}
		err = after.Close()
		if err != nil {
			t.Fatal(err)
		}
		_, err = os.Stat(path + "-journal")
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the journal of a closed store is there: %v", err)
		}
	}
}

// A crash can cut the last frame short, wherever: the writes before it are there,
// and those in it are there together or not at all.
func TestJournalCutShort(t *testing.T) {
	b := openTestBolt(t)
	ends := frames(t, b, 4)
	whole := copyFiles(t, b)
	journal, err := os.ReadFile(whole + "-journal")
	if err != nil {
		t.Fatal(err)
	}
	last := ends[2]
	for _, cut := range []int64{last, last + 1, last + 40, last + 100, last + journalPage, last + journalPage + 1, ends[3] - journalPage} {
		for _, rest := range []string{"nothing", "zeros", "noise"} {
			torn := slices.Clone(journal)
			switch rest {
			case "nothing":
				torn = torn[:cut]
			case "zeros":
				clear(torn[cut:])
			case "noise":
				for i := range torn[cut:] {
					torn[cut+int64(i)] ^= byte(rand.IntN(255) + 1)
				}
			}
			after, err := reopenWith(t, whole, torn)
			if err != nil {
				t.Fatalf("cut at %d, then %s: %v", cut, rest, err)
			}
			for i, wantErr := range []error{nil, nil, nil, ErrNotFound} {
				_, err = after.Get(t.Context(), "k", fmt.Sprint(i))
				if !errors.Is(err, wantErr) {
					t.Errorf("cut at %d, then %s: record %d: %v", cut, rest, i, err)
				}
			}
			err = after.Close()
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// reopenWith opens a copy of a database with another journal.
func reopenWith(t *testing.T, db string, journal []byte) (*Bolt, error) {
	t.Helper()
	data, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "again.db")
	err = errors.Join(os.WriteFile(path, data, 0o600), os.WriteFile(path+"-journal", journal, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return OpenBolt(path, BoltOptions{})
}

// A frame that can't be read in front of one that can is no crash: writes that
// were reported as done are lost, and the store must not act as if they had not
// been.
func TestDamagedJournalIsRefused(t *testing.T) {
	b := openTestBolt(t)
	ends := frames(t, b, 3)
	whole := copyFiles(t, b)
	journal, err := os.ReadFile(whole + "-journal")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range inFrames(journal, 0, ends[0]) {
		bad := slices.Clone(journal)
		bad[at] ^= 1 << (at % 8)
		after, err := reopenWith(t, whole, bad)
		if !errors.Is(err, errDamaged) {
			t.Errorf("byte %d: got error %v, want errDamaged", at, err)
		}
		if err == nil {
			after.Close()
		}
	}
}

// inFrames returns the offsets of bytes that matter in the frames at the given
// offsets: all of the header and some of the content.
func inFrames(journal []byte, starts ...int64) (offsets []int64) {
	for _, start := range starts {
		length := int64(binary.BigEndian.Uint32(journal[start+int64(journalHeader)-4:]))
		for at := range int64(journalHeader) + length {
			if at < int64(journalHeader)+8 || at%61 == 0 {
				offsets = append(offsets, start+at)
			}
		}
	}
	return offsets
}

// A journal that belongs to another database, or to an earlier state of this one,
// is not read.
func TestForeignJournalIsIgnored(t *testing.T) {
	b, other := openTestBolt(t), openTestBolt(t)
	frames(t, b, 2)
	foreign, err := os.ReadFile(b.path + "-journal")
	if err != nil {
		t.Fatal(err)
	}
	for what, db := range map[string]*Bolt{"another": other, "a later": b} {
		fold(t, db)
		after, err := reopenWith(t, copyFiles(t, db), foreign)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_, err = after.Get(t.Context(), "k", "1")
		if (err == nil) != (db == b) {
			t.Errorf("%s: Get: %v", what, err)
		}
		if n := after.recent.firm(); n != 0 {
			t.Errorf("%s: %d changes were read", what, n)
		}
		after.Close()
	}
}

// What the journal could not take is not visible, and the next write that works
// puts an end to it.
func TestJournalFails(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	frames(t, b, 2)
	b.writing.Lock()
	good := b.journal.file
	readOnly, err := os.Open(b.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	b.journal.file = readOnly
	b.writing.Unlock()
	for range 2 {
		err = b.Create(ctx, &Record{Kind: "k", ID: "new"})
		if err == nil || b.Ping(ctx) == nil {
			t.Errorf("a journal that can not be written was written: %v", err)
		}
	}
	_, err = b.Get(ctx, "k", "new")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("a failed write is visible: %v", err)
	}
	b.writing.Lock()
	b.journal.file = good
	b.writing.Unlock()
	err = errors.Join(b.Create(ctx, &Record{Kind: "k", ID: "new"}), b.Ping(ctx))
	if err != nil {
		t.Errorf("with the journal back: %v", err)
	}
	after, err := OpenBolt(copyFiles(t, b), BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	for _, id := range []string{"0", "1", "new"} {
		_, err = after.Get(ctx, "k", id)
		if err != nil {
			t.Errorf("record %s: %v", id, err)
		}
	}
}

// While writes can not move into the database they are taken and read, and Ping
// tells.
func TestDatabaseRefusesWrites(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	obstacle := appendIndexKey(nil, "k", journalIndex, "1")
	err := b.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.Bucket(indexBucket).CreateBucket(obstacle)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	frames(t, b, 3)
	b.sweep(true)
	err = b.Ping(ctx)
	if err == nil {
		t.Error("Ping says that all is well")
	}
	page, err := b.List(ctx, "k", journalIndex, "", 10)
	if err != nil || len(page) != 3 {
		t.Errorf("List = %v, %v", page, err)
	}
	err = b.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(indexBucket).DeleteBucket(obstacle) })
	if err != nil {
		t.Fatal(err)
	}
	b.sweep(true)
	err = b.Ping(ctx)
	if err != nil || b.recent.firm() != 0 {
		t.Errorf("Ping: %v; %d changes have not moved", err, b.recent.firm())
	}
}

// Wherever a record is, in the journal, in the database or in both, the store
// behaves like one in memory.
func TestBoltBehavesLikeMemory(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	b := openTestBolt(t)
	b.now = clock
	m := NewMemory(Options{Now: clock})
	defer m.Close()
	random := rand.New(rand.NewPCG(1, 2))
	indexes := []Index{journalIndex, {"state", "sent"}, {"empty", ""}}
	for step := range 3000 {
		id := fmt.Sprint("id", random.IntN(12))
		r := &Record{Kind: "k", ID: id, Version: uint64(random.IntN(4)), Data: []byte(fmt.Sprint(step)), Relaxed: random.IntN(2) == 0}
		for _, x := range indexes {
			if random.IntN(2) == 0 {
				r.Indexes = append(r.Indexes, x)
			}
		}
		if random.IntN(2) == 0 {
			r.Expires = now.Add(time.Duration(random.IntN(40)) * time.Second)
		}
		twin := *r
		var err, want error
		switch random.IntN(5) {
		case 0:
			err, want = b.Create(t.Context(), r), m.Create(t.Context(), &twin)
		case 1, 2:
			err, want = b.Update(t.Context(), r), m.Update(t.Context(), &twin)
		case 3:
			err, want = b.Delete(t.Context(), "k", id, r.Version), m.Delete(t.Context(), "k", id, r.Version)
		case 4:
			now = now.Add(time.Second)
			switch random.IntN(3) {
			case 0:
				b.sweep(true)
			case 1:
				b.sweep(false)
			case 2:
				fold(t, b)
			}
		}
		if !errors.Is(err, want) || r.Version != twin.Version {
			t.Fatalf("step %d: got %v and version %d, in memory %v and %d", step, err, r.Version, want, twin.Version)
		}
		for _, x := range indexes {
			after, limit := fmt.Sprint("id", random.IntN(12)), 1+random.IntN(12)
			got, err := b.List(t.Context(), "k", x, after, limit)
			want, wantErr := m.List(t.Context(), "k", x, after, limit)
			if err != nil || wantErr != nil || describe(got) != describe(want) {
				t.Fatalf("step %d: List(%v, %q, %d) = %s, in memory %s", step, x, after, limit, describe(got), describe(want))
			}
		}
	}
}

func describe(records []*Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintln(&b, r.Kind, r.ID, r.Version, string(r.Data), r.Indexes, r.Expires.UnixMilli())
	}
	return b.String()
}

// Whatever a file contains, reading it as changes neither panics nor takes much
// memory.
func FuzzReadChanges(f *testing.F) {
	frame := appendFrame(nil, epoch{}, 0, []*boltChange{
		newBoltPut(opCreate, &Record{Kind: "k", ID: "a", Data: []byte("x"), Indexes: []Index{journalIndex}}, 1).change,
		newBoltDelete("k", "b", 0).change,
	})
	f.Add(frame[journalHeader:])
	f.Add([]byte{2, 'k', 0, 0})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, content []byte) {
		changes, err := readChanges(content)
		if err != nil && !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
		for _, c := range changes {
			if (c.after() == nil) != (c.value == nil) {
				t.Fatalf("%+v", c)
			}
		}
	})
}
