package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func TestOpenRefusesForeignFiles(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("somebody else's"))
		return err
	}), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	later := filepath.Join(dir, "later.db")
	b, err := OpenBolt(later, BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, metaBucket, formatKey, []byte("3"))
	err = b.Close()
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text.db")
	err = os.WriteFile(text, bytes.Repeat([]byte("no database "), 2000), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{foreign, later, text, dir, filepath.Join(text, "below.db")} {
		before, _ := os.ReadFile(path)
		b, err := OpenBolt(path, BoltOptions{LockTimeout: time.Second})
		if err == nil {
			b.Close()
			t.Errorf("%s was opened", path)
		}
		after, _ := os.ReadFile(path)
		if !bytes.Equal(before, after) {
			t.Errorf("%s was changed", path)
		}
	}
}

// A file that was removed or replaced takes no writes, which would be lost,
// and takes them again when it is back.
func TestReplacedFileIsNotWrittenTo(t *testing.T) {
	b := openTestBolt(t)
	ctx := t.Context()
	err := os.Rename(b.path, b.path+".away")
	if err != nil {
		t.Fatal(err)
	}
	err = b.Create(ctx, testRecord())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Create without file: %v", err)
	}
	err = os.WriteFile(b.path, []byte("restored"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if b.Create(ctx, testRecord()) == nil || b.Ping(ctx) == nil {
		t.Error("a replaced file was written to")
	}
	err = os.Rename(b.path+".away", b.path)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(b.Create(ctx, testRecord()), b.Ping(ctx))
	if err != nil {
		t.Errorf("with the file back: %v", err)
	}
}

// While the disk does not answer, a caller whose context ends gets away. What
// had not begun is not written later.
func TestWaitingWriterHonorsContext(t *testing.T) {
	b := openTestBolt(t)
	b.writing.Lock() // holds the writer up like a slow disk
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	begun := newBoltPut(opCreate, &Record{Kind: "k", ID: "begun"}, 1)
	queued := newBoltPut(opCreate, &Record{Kind: "k", ID: "queued"}, 1)
	err := b.writes.add(begun)
	if err != nil {
		t.Fatal(err)
	}
	for b.writes.backlog() > 0 {
		runtime.Gosched() // until the writer has taken it
	}
	err = b.writes.add(queued)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []*boltOp{begun, queued} {
		err = b.wait(ended, op)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("write of %s: got %v, want the context's error", op.change.id, err)
		}
	}
	b.writing.Unlock()
	err = b.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Get(t.Context(), "k", "queued")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("withdrawn write: got %v, want ErrNotFound", err)
	}
	_, err = b.Get(t.Context(), "k", "begun")
	if err != nil {
		t.Errorf("write that had begun: %v", err)
	}
}
