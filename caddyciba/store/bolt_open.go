package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
)

func openBoltFile(path string, lockTimeout time.Duration) (*bbolt.DB, error) {
	dir := filepath.Dir(path)
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, err
	}
	_, err = os.Stat(path)
	isNew := errors.Is(err, os.ErrNotExist)
	var db *bbolt.DB
	err = guarded(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockTimeout,
			// The hash map finds a free page in constant time however
			// fragmented the file has become.
			FreelistType:    bbolt.FreelistMapType,
			NoStatistics:    true,
			InitialMmapSize: mapSize(),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if isNew {
		err = syncDirs(dir)
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

// syncDirs makes the new file's name durable, and that of its directory, which
// may be new as well. Without it a power cut could take a file away whose
// content had been written with all care.
func syncDirs(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // has no such call
	}
	for _, name := range []string{dir, filepath.Dir(dir)} {
		d, err := os.Open(name)
		if errors.Is(err, os.ErrPermission) {
			continue // not ours, hence not new
		}
		if err != nil {
			return err
		}
		err = errors.Join(d.Sync(), d.Close())
		if err != nil {
			return fmt.Errorf("making the new file durable: %w", err)
		}
	}
	return nil
}

// mapSize is how much of the address space the file gets from the beginning. When it
// outgrows that, in the middle of a write, it is mapped anew, and all that the
// write has touched so far is copied. Windows would make the file as large.
func mapSize() int {
	if runtime.GOOS == "windows" || strconv.IntSize < 64 {
		return 0
	}
	return 256 << 20
}

// prepare makes the buckets of a new file, and refuses a file that is not a
// store or that a later format wrote.
func (b *Bolt) prepare() error {
	var err error
	b.file, err = os.Stat(b.path)
	if err != nil {
		return err
	}
	return guarded(func() error { return b.db.Update(prepareBuckets) })
}

func prepareBuckets(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta != nil {
		got := meta.Get(formatKey)
		if !bytes.Equal(got, formatValue) {
			return fmt.Errorf("the file has format %q, this program writes format %q", got, formatValue)
		}
	} else if first, _ := tx.Cursor().First(); first != nil {
		return errors.New("the file belongs to another program")
	}
	for _, name := range [][]byte{metaBucket, recordBucket, indexBucket, expiryBucket} {
		_, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
	}
	if meta == nil {
		epoch := newEpoch()
		return errors.Join(tx.Bucket(metaBucket).Put(formatKey, formatValue), tx.Bucket(metaBucket).Put(epochKey, epoch[:]))
	}
	return nil
}
