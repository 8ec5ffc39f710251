package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
// A write returns after the disk has taken it, in a journal: a second file with
// "-journal" behind its name, which is there while the store is open. From
// there writes move into the database many at a time, also those that a crash
// has left in the journal, when the store is opened again. The two files belong
// together.
//
// Writes that arrive while the disk is busy share the next turn, which waits a
// few milliseconds at most for as many writers as there were lately, so that many
// callers together are far faster than one, and cost far less. Reads never wait for
// the disk's answer to a write, nor do relaxed writes, which stay in memory until
// the next sweep; those that expire until then, or by the one behind it, are never
// written at all.
//
// Writes move into the database when there are 32768 of them or 32 MiB in the
// journal, and with every sixth sweep: a record that comes and changes in the
// meantime moves once, and one that goes does not move. They are kept in memory
// until the next ones have moved, too. A store that was not closed moves what its
// journal has when it is opened, which takes about a second for a full one.
//
// Ids that are close to each other lie in the same pages of the file: a caller
// that begins ids with the time saves much of the work.
type Bolt struct {
	db      *bbolt.DB
	path    string
	file    os.FileInfo
	now     func() time.Time
	watches watches
	writes  boltQueue
	recent  boltRecent
	filter  atomic.Pointer[boltFilter] // of the database
	linger  time.Duration              // for which relaxed changes may stay out of the database

	// judging is held while it is decided whether a write may happen, and while
	// what may happen becomes visible.
	judging sync.Mutex
	staged  map[string]*boltChange // by name; may happen, and are on their way to the disk
	stuck   bool                   // the last fold failed

	writing  sync.Mutex // held while the journal or the database is written
	journal  *journal
	unfolded error // why the last fold failed
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
	b := &Bolt{db: db, path: path, now: o.Now, linger: o.SweepInterval, staged: make(map[string]*boltChange)}
	err = b.prepare()
	if err == nil {
		err = b.recover()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", path, err), db.Close())
	}
	b.writes.init()
	go b.write(o.SweepInterval)
	return b, nil
}

// recover opens the journal and moves what a crash has left there into the
// database.
func (b *Bolt) recover() error {
	var start epoch
	err := b.view(func(tx *bbolt.Tx) error {
		if copy(start[:], tx.Bucket(metaBucket).Get(epochKey)) != len(start) {
			return fmt.Errorf("%w: it does not tell which journal is its own", errDamaged)
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.journal, err = openJournal(b.path+"-journal", start)
	if err != nil {
		return err
	}
	left, err := b.journal.read()
	if err == nil {
		b.filter.Store(readFilter(b.db))
		b.recent.add(left...)
		err = b.fold(0)
	}
	if err != nil {
		return errors.Join(err, b.journal.close())
	}
	return nil
}

// Create implements [Store].
func (b *Bolt) Create(ctx context.Context, r *Record) error {
	err := checkRecord(r)
	if err != nil {
		return err
	}
	err = b.do(ctx, newBoltPut(opCreate, r, 1))
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
	err = b.do(ctx, newBoltPut(opUpdate, r, r.Version+1))
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

// Watch implements [Store].
func (b *Bolt) Watch(kind, id string) (<-chan struct{}, func()) {
	return b.watches.add(recordWatch(kind, id))
}

// WatchIndex implements [Store].
func (b *Bolt) WatchIndex(kind string, index Index) (<-chan struct{}, func()) {
	return b.watches.add(indexWatch(kind, index))
}

// Ping implements [Store]. It writes to the journal, so that it finds a disk that
// is full, read-only, or does not answer, and it reports when writes could not
// move on into the database, or expired records could not be removed.
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
	b.writing.Lock()
	defer b.writing.Unlock()
	b.awaitRelaxed()
	err := errors.Join(b.fold(0), b.journal.close())
	if err == nil {
		// Nothing is in it any more. If it comes back after a power cut, it is
		// not the one that the database expects.
		err = os.Remove(b.journal.path)
	}
	// From here on, whoever reads meets the closed database.
	b.recent.clear()
	b.filter.Store(nil)
	err = errors.Join(err, b.db.Close())
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
