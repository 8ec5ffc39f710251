package store

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func openTestBolt(t *testing.T) *Bolt {
	t.Helper()
	b, err := OpenBolt(filepath.Join(t.TempDir(), "ciba.db"), BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// fold moves what is in the journal into the database, from where it is then read.
func fold(t *testing.T, b *Bolt) {
	t.Helper()
	b.writing.Lock()
	defer b.writing.Unlock()
	err := b.fold(0)
	if err != nil {
		t.Fatal(err)
	}
	b.recent.clear()
}

// put writes behind the store's back.
func put(t *testing.T, b *Bolt, bucket, key, value []byte) {
	t.Helper()
	fold(t, b)
	err := b.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) })
	if err != nil {
		t.Fatal(err)
	}
	b.filter.Store(readFilter(b.db)) // as if it was opened now
}

func keys(t *testing.T, b *Bolt, bucket []byte) (n int) {
	t.Helper()
	fold(t, b)
	err := b.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Whatever becomes of records, nothing of them stays in the file but what
// their last state needs.
func TestBoltLeavesNothingBehind(t *testing.T) {
	b := openTestBolt(t)
	if b.db.NoSync || b.db.NoGrowSync {
		t.Error("writes do not wait for the disk")
	}
	now := time.Now()
	b.now = func() time.Time { return now }
	check := func(what string, records, index, expiry int) {
		t.Helper()
		got := [3]int{keys(t, b, recordBucket), keys(t, b, indexBucket), keys(t, b, expiryBucket)}
		if got != [3]int{records, index, expiry} {
			t.Errorf("%s: records, index and expiry have %d keys, want %d %d %d", what, got, records, index, expiry)
		}
	}
	do := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	r := testRecord()
	do("Create", b.Create(t.Context(), r))
	check("Create", 1, 2, 1)
	r.Indexes = []Index{{"state", "sent"}}
	r.Expires = now.Add(2 * time.Hour)
	do("Update", b.Update(t.Context(), r))
	check("Update", 1, 1, 1)
	now = now.Add(3 * time.Hour)
	r.Expires = time.Time{}
	do("Create over expired", b.Create(t.Context(), r))
	check("Create over expired", 1, 1, 0)
	do("Delete", b.Delete(t.Context(), "k", "a", 0))
	check("Delete", 0, 0, 0)
	for i := range sweepChunk + 1 {
		r = testRecord()
		r.ID = fmt.Sprint(i)
		r.Expires = now.Add(time.Minute)
		do("Create", b.Create(t.Context(), r))
	}
	fold(t, b)
	now = now.Add(time.Hour)
	if more := b.sweep(true); !more {
		t.Error("the first sweep says that nothing is left")
	}
	check("first sweep", 1, 2, 1)
	if more := b.sweep(true); more {
		t.Error("the second sweep says that something is left")
	}
	check("second sweep", 0, 0, 0)
}

func testRecord() *Record {
	return &Record{
		Kind: "k", ID: "a", Data: []byte("some data"),
		Indexes: []Index{{"state", "held"}, {"empty", ""}},
		Expires: time.Now().Add(time.Hour),
	}
}

// No change of a stored record's bytes goes unnoticed: not a flipped bit, not
// a cut, not the record of another id.
func TestDamagedRecordIsAnError(t *testing.T) {
	r := testRecord()
	key := appendKey(nil, r.Kind, r.ID)
	good := encodeRecord(string(key), &stored{version: 3, expires: toMillis(r.Expires), indexes: r.Indexes, data: r.Data})
	s, err := decodeRecord(key, good)
	if err != nil || s.version != 3 || !bytes.Equal(s.data, r.Data) || !slices.Equal(s.indexes, r.Indexes) {
		t.Fatalf("the undamaged record reads as %+v, %v", s, err)
	}
	check := func(what string, key, value []byte) {
		t.Helper()
		_, err := decodeRecord(key, value)
		if !errors.Is(err, errDamaged) {
			t.Errorf("%s: got error %v, want errDamaged", what, err)
		}
	}
	for i := range good {
		check(fmt.Sprint("cut to ", i), key, good[:i])
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[i] ^= 1 << bit
			check(fmt.Sprint("byte ", i, " bit ", bit), key, bad)
		}
	}
	check("longer", key, append(slices.Clone(good), 0))
	check("another id", appendKey(nil, r.Kind, "b"), good)
}

// Even with a right checksum, fields that lie do not make the decoder panic,
// read beyond the record, or take much memory.
func FuzzDecodeRecord(f *testing.F) {
	r := testRecord()
	key := appendKey(nil, r.Kind, r.ID)
	good := encodeRecord(string(key), &stored{version: 1, indexes: r.Indexes, data: r.Data})
	f.Add(good[:len(good)-4])
	f.Add([]byte{recordFormat, 1, 0, 255, 255, 255, 255, 15})
	f.Add([]byte{recordFormat, 1, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 127})
	f.Add([]byte{recordFormat + 1, 1, 0, 0})
	f.Add([]byte{recordFormat, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := checksum(key, body)
		s, err := decodeRecord(key, append(slices.Clip(slices.Clone(body)), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)))
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		// What can be read is what would be written: uvarints that are longer
		// than need be are the only freedom.
		again, err := decodeRecord(key, encodeRecord(string(key), s))
		if err != nil || again.version != s.version || again.expires != s.expires ||
			!slices.Equal(again.indexes, s.indexes) || !bytes.Equal(again.data, s.data) {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
	})
}

func TestDamagedRecordFailsEachCall(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	for _, id := range []string{"a", "b"} {
		r := testRecord()
		r.ID = id
		err := b.Create(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
	}
	put(t, b, recordBucket, appendKey(nil, "k", "a"), []byte("not a record"))

	want := func(what string, err, target error) {
		t.Helper()
		if !errors.Is(err, target) {
			t.Errorf("%s: got error %v, want %v", what, err, target)
		}
	}
	_, err := b.Get(ctx, "k", "a")
	want("Get", err, errDamaged)
	want("Create", b.Create(ctx, testRecord()), errDamaged)
	want("Update", b.Update(ctx, testRecord()), errDamaged)
	want("Delete", b.Delete(ctx, "k", "a", 0), errDamaged)
	_, err = b.List(ctx, "k", Index{"state", "held"}, "", 10)
	want("List", err, errDamaged)
	// The others are not affected.
	_, err = b.Get(ctx, "k", "b")
	want("Get of another", err, nil)
	want("Delete of another", b.Delete(ctx, "k", "b", 1), nil)
}

// A damaged record does not stop the sweep, and is removed when its time has
// come; the index entries that are left over hurt nobody.
func TestDamagedRecordIsSwept(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	now := time.Now()
	b.now = func() time.Time { return now }
	for _, id := range []string{"a", "b"} {
		r := testRecord()
		r.ID = id
		err := b.Create(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
	}
	put(t, b, recordBucket, appendKey(nil, "k", "a"), []byte("not a record"))
	put(t, b, expiryBucket, []byte("\x00"), nil)
	put(t, b, expiryBucket, appendExpiryKey(nil, 5, appendKey(nil, "k", "never was")), nil)
	err := b.Create(ctx, &Record{Kind: "k", ID: "live"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, expiryBucket, appendExpiryKey(nil, 5, appendKey(nil, "k", "live")), nil)
	now = now.Add(2 * time.Hour)
	if b.sweep(true) {
		t.Error("sweep says that there is more")
	}
	err = b.Ping(ctx)
	if err != nil {
		t.Errorf("Ping after the sweep: %v", err)
	}
	_, err = b.Get(ctx, "k", "live")
	if err != nil {
		t.Errorf("a live record was swept: %v", err)
	}
	page, err := b.List(ctx, "k", Index{"state", "held"}, "", 10)
	if err != nil || len(page) != 0 {
		t.Errorf("List = %v, %v", page, err)
	}
	err = b.Create(ctx, testRecord())
	if err != nil {
		t.Errorf("Create over the damaged record: %v", err)
	}
	if n := keys(t, b, expiryBucket); n != 1 {
		t.Errorf("%d expiry entries, want the one of the new record", n)
	}
}

// A record that can't be read is an error to whoever touches it, and to nobody
// else, whether or not they share its turn.
func TestDamageIsNotShared(t *testing.T) {
	b := openTestBolt(t)
	put(t, b, recordBucket, appendKey(nil, "k", "bad"), []byte("not a record"))
	batch := []*boltOp{
		newBoltPut(opCreate, &Record{Kind: "k", ID: "one"}, 1),
		newBoltPut(opCreate, &Record{Kind: "k", ID: "bad"}, 1),
		newBoltPut(opCreate, &Record{Kind: "k", ID: "two"}, 1),
	}
	b.commit(batch)
	for i, wantErr := range []bool{false, true, false} {
		if (batch[i].err != nil) != wantErr {
			t.Errorf("write %d: %v", i, batch[i].err)
		}
	}
	for _, id := range []string{"one", "two"} {
		_, err := b.Get(t.Context(), "k", id)
		if err != nil {
			t.Errorf("Get %s: %v", id, err)
		}
	}
}

func TestPanicBecomesError(t *testing.T) {
	b := openTestBolt(t)
	err := b.view(func(*bbolt.Tx) error { panic("misplaced page") })
	if !errors.Is(err, errDamaged) {
		t.Errorf("a panic became %v", err)
	}
}
