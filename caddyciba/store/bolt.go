package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Defaults of BoltOptions.
const (
	DefaultLockTimeout   = 5 * time.Second
	DefaultSweepInterval = 10 * time.Second
)

// ErrLocked says that the database file is open already, in this process or in
// another one.
var ErrLocked = errors.New("database file is in use")

// errDamaged says that the file does not hold what was written to it.
var errDamaged = errors.New("database file is damaged")

// BoltOptions configure a bbolt store. The zero value is ready for use.
type BoltOptions struct {
	// Now is the clock by which records expire. Default: time.Now.
	Now func() time.Time

	// LockTimeout is how long to wait for another process to let go of the
	// file. Default: DefaultLockTimeout.
	LockTimeout time.Duration

	// SweepInterval is how often expired records are removed from the file.
	// Default: DefaultSweepInterval.
	SweepInterval time.Duration
}

// Bolt is a store in one file of the local disk. It is for one process at a
// time, and holds an exclusive lock on the file.
//
// A write returns after the disk has taken it. Writes that arrive while the
// disk is busy share the next transaction, so that many callers together are
// far faster than one. Reads never wait for writes.
type Bolt struct {
	db      *bbolt.DB
	path    string
	file    os.FileInfo
	now     func() time.Time
	watches watches
	writes  boltQueue
}

// OpenBolt opens the file at path and makes it, readable for its owner only,
// if it does not exist. Missing directories are made likewise. It returns
// ErrLocked if the file stays in use for longer than the lock timeout.
//
// The file must be on a local disk: locks and memory maps do not work reliably
// over a network. Do not replace it while it is open; a store whose file was
// removed or replaced refuses to write.
func OpenBolt(path string, o BoltOptions) (*Bolt, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = DefaultLockTimeout
	}
	if o.SweepInterval <= 0 {
		o.SweepInterval = DefaultSweepInterval
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	db, err := openBoltFile(path, o.LockTimeout)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("opening store %s: %w: another process holds its lock, and did not let go within %v", path, ErrLocked, o.LockTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", path, err)
	}
	b := &Bolt{db: db, path: path, now: o.Now}
	err = b.prepare()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", path, err), db.Close())
	}
	b.writes.init()
	go b.write(o.SweepInterval)
	return b, nil
}

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
			FreelistType: bbolt.FreelistMapType,
			NoStatistics: true,
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
		return tx.Bucket(metaBucket).Put(formatKey, formatValue)
	}
	return nil
}

// Create implements [Store].
func (b *Bolt) Create(ctx context.Context, r *Record) error {
	err := checkRecord(r)
	if err != nil {
		return err
	}
	op := newBoltPut(opCreate, r, 1)
	err = b.do(ctx, op)
	if err != nil {
		return err
	}
	r.Version = 1
	return nil
}

// Update implements [Store].
func (b *Bolt) Update(ctx context.Context, r *Record) error {
	err := checkRecord(r)
	if err != nil {
		return err
	}
	op := newBoltPut(opUpdate, r, r.Version+1)
	err = b.do(ctx, op)
	if err != nil {
		return err
	}
	r.Version++
	return nil
}

// Delete implements [Store].
func (b *Bolt) Delete(ctx context.Context, kind, id string, version uint64) error {
	err := checkKey(kind, id)
	if err != nil {
		return err
	}
	return b.do(ctx, newBoltDelete(kind, id, version))
}

// Get implements [Store].
func (b *Bolt) Get(ctx context.Context, kind, id string) (*Record, error) {
	err := checkKey(kind, id)
	if err != nil {
		return nil, err
	}
	err = live(ctx)
	if err != nil {
		return nil, err
	}
	var found *Record
	err = b.view(func(tx *bbolt.Tx) error {
		key := appendKey(make([]byte, 0, maxKey), kind, id)
		s, err := decodeRecord(key, tx.Bucket(recordBucket).Get(key))
		if err != nil {
			return err
		}
		if expired(s.expires, b.now()) {
			return ErrNotFound
		}
		found = s.record(kind, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// List implements [Store].
func (b *Bolt) List(ctx context.Context, kind string, index Index, after string, limit int) ([]*Record, error) {
	err := checkList(kind, index, after, limit)
	if err != nil {
		return nil, err
	}
	var page []*Record
	err = b.view(func(tx *bbolt.Tx) error {
		now := b.now()
		records := tx.Bucket(recordBucket)
		prefix := appendIndexKey(nil, kind, index, "")
		start := append(slices.Clone(prefix), after...)
		cursor := tx.Bucket(indexBucket).Cursor()
		for k, _ := cursor.Seek(start); bytes.HasPrefix(k, prefix) && len(page) < limit; k, _ = cursor.Next() {
			err := live(ctx)
			if err != nil {
				return err
			}
			id := string(k[len(prefix):])
			if id == after {
				continue
			}
			key := appendKey(nil, kind, id)
			s, err := decodeRecord(key, records.Get(key))
			if errors.Is(err, ErrNotFound) {
				continue // what a damaged and swept record left behind
			}
			if err != nil {
				return err
			}
			if !expired(s.expires, now) && slices.Contains(s.indexes, index) {
				page = append(page, s.record(kind, id))
			}
		}
		return live(ctx)
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// Watch implements [Store].
func (b *Bolt) Watch(kind, id string) (<-chan struct{}, func()) {
	return b.watches.add(recordWatch(kind, id))
}

// WatchIndex implements [Store].
func (b *Bolt) WatchIndex(kind string, index Index) (<-chan struct{}, func()) {
	return b.watches.add(indexWatch(kind, index))
}

// Ping implements [Store]. It writes to the file, so that it finds a disk that
// is full, read-only, or does not answer, and it reports when expired records
// could not be removed.
func (b *Bolt) Ping(ctx context.Context) error {
	err := b.do(ctx, newBoltPing())
	if err != nil {
		return err
	}
	return b.writes.sweepFailure()
}

// Close implements [Store]. It waits for the writes and reads that have begun.
func (b *Bolt) Close() error {
	if !b.writes.close() {
		return nil
	}
	<-b.writes.ended
	err := b.db.Close()
	b.watches.close()
	if err != nil {
		return fmt.Errorf("closing store %s: %w", b.path, err)
	}
	return nil
}

func (b *Bolt) view(f func(tx *bbolt.Tx) error) error {
	return b.explain("reading", guarded(func() error { return b.db.View(f) }))
}

// explain names the file in the errors that an operator will read; the errors
// of the contract stay as they are.
func (b *Bolt) explain(doing string, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrExists), errors.Is(err, ErrConflict):
		return err
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return ErrClosed
	default:
		return fmt.Errorf("%s store %s: %w", doing, b.path, err)
	}
}

// guarded makes an error of the panics and memory faults that bbolt answers
// damaged pages and failing disks with. The process serves other sites too; it
// must not fall over this file.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return f()
}

var _ Store = (*Bolt)(nil)
