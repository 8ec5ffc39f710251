package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// A transaction takes so many writes, and so many bytes, at most; the
	// bytes are held in memory until it ends.
	maxBatch      = 1024
	maxBatchBytes = 64 << 20

	// sweepChunk is how many expired records one transaction removes. Writes
	// that wait get their turn in between.
	sweepChunk = 256
)

// boltQueue holds the writes that wait for the writer.
type boltQueue struct {
	mu      sync.Mutex
	waiting []*boltOp
	closed  bool
	swept   error // of the last sweep

	wake  chan struct{} // holds a value when the writer should look
	ended chan struct{} // closed when the writer has ended
}

func (q *boltQueue) init() {
	q.wake = make(chan struct{}, 1)
	q.ended = make(chan struct{})
}

func (q *boltQueue) add(op *boltOp) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	q.waiting = append(q.waiting, op)
	q.mu.Unlock()
	q.signal()
	return nil
}

func (q *boltQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a write back that the writer has not begun with, and reports
// whether it could.
func (q *boltQueue) withdraw(op *boltOp) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, op)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take returns the writes for one transaction, in the order of their arrival.
func (q *boltQueue) take() []*boltOp {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && n < maxBatch && (n == 0 || size+len(q.waiting[n].value) <= maxBatchBytes) {
		size += len(q.waiting[n].value)
		n++
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	return batch
}

// close lets no more writes in and reports whether it was the first to do so.
func (q *boltQueue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.closed = true
	q.signal()
	return true
}

func (q *boltQueue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// drained reports whether the queue is closed and nothing waits any more.
func (q *boltQueue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.waiting) == 0
}

func (q *boltQueue) setSwept(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.swept = err
}

func (q *boltQueue) sweepFailure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.swept
}

// do hands a write to the writer and waits for its end.
func (b *Bolt) do(ctx context.Context, op *boltOp) error {
	err := live(ctx)
	if err != nil {
		return err
	}
	err = b.writes.add(op)
	if err != nil {
		return err
	}
	return b.wait(ctx, op)
}

// wait waits for the end of a write. If the context ends first, the write is
// withdrawn, or left to its fate if it has begun.
func (b *Bolt) wait(ctx context.Context, op *boltOp) error {
	select {
	case <-op.done:
		return b.explain("writing to", op.err)
	case <-ctx.Done():
	}
	if b.writes.withdraw(op) {
		return fmt.Errorf("waiting to write to store %s: %w", b.path, ctx.Err())
	}
	select {
	case <-op.done: // just now; it is better to know than not to
		return b.explain("writing to", op.err)
	default:
	}
	return fmt.Errorf("writing to store %s, outcome unknown: %w", b.path, ctx.Err())
}

// write is the goroutine that owns all write transactions. While the disk
// takes one, further writes gather for the next: that is the group commit, and
// a lone writer waits for nobody.
func (b *Bolt) write(sweepInterval time.Duration) {
	defer close(b.writes.ended)
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for {
		sweeping := false
		select {
		case <-b.writes.wake:
		case <-sweep.C:
			sweeping = true
		}
		for {
			batch := b.writes.take()
			if len(batch) > 0 {
				b.commit(batch)
			} else if !sweeping {
				break
			}
			if sweeping {
				sweeping = b.sweep() && !b.writes.isClosed()
			}
		}
		if b.writes.drained() {
			return
		}
	}
}

// commit runs the writes in one transaction and reports to their callers.
func (b *Bolt) commit(batch []*boltOp) {
	applied, err := b.tryCommit(batch)
	if err != nil && !applied && len(batch) > 1 {
		// One of them met a damaged page. Nothing was written; the others
		// must not suffer for it.
		for _, op := range batch {
			b.commit([]*boltOp{op})
		}
		return
	}
	for _, op := range batch {
		if err != nil {
			op.err = err
		}
		if op.err == nil && op.what != opPing {
			b.watches.changed(op.kind, op.id, op.before, op.indexes)
		}
		close(op.done)
	}
}

// tryCommit also reports whether all writes could be applied. Only if they
// could not is it certain that an error left the file unchanged.
func (b *Bolt) tryCommit(batch []*boltOp) (applied bool, err error) {
	err = b.checkFile()
	if err != nil {
		return true, err
	}
	err = guarded(func() error {
		return b.db.Update(func(tx *bbolt.Tx) error {
			t := newBoltTx(tx, b.now())
			for _, op := range batch {
				err := t.apply(op)
				if err != nil {
					return err
				}
			}
			applied = true
			return nil
		})
	})
	return applied, err
}

// checkFile refuses to write into a file that no longer has a name: all that
// went into it would be gone with the process.
func (b *Bolt) checkFile() error {
	info, err := os.Stat(b.path)
	if err != nil {
		return err
	}
	if !os.SameFile(info, b.file) {
		return errors.New("the file was replaced while it was open")
	}
	return nil
}

// sweep removes a chunk of expired records and reports whether there are more.
func (b *Bolt) sweep() (more bool) {
	var due [][]byte
	err := guarded(func() error {
		return b.db.View(func(tx *bbolt.Tx) error {
			due = expiredKeys(tx, b.now())
			return nil
		})
	})
	if err == nil && len(due) > 0 {
		err = b.checkFile()
	}
	if err == nil && len(due) > 0 {
		err = guarded(func() error {
			return b.db.Update(func(tx *bbolt.Tx) error {
				return newBoltTx(tx, b.now()).remove(due)
			})
		})
	}
	if err != nil {
		err = b.explain("removing expired records from", err)
	}
	b.writes.setSwept(err)
	return err == nil && len(due) == sweepChunk
}

// expiredKeys returns the first keys of the expiry bucket that are due. Only
// the writer changes the file, so they are still there when it begins to write.
func expiredKeys(tx *bbolt.Tx, now time.Time) [][]byte {
	var due [][]byte
	limit := appendExpiryKey(nil, now.UnixMilli()+1, nil)
	cursor := tx.Bucket(expiryBucket).Cursor()
	for k, _ := cursor.First(); k != nil && len(due) < sweepChunk; k, _ = cursor.Next() {
		if string(k) >= string(limit) {
			break
		}
		due = append(due, slices.Clone(k))
	}
	return due
}

// remove deletes the records that the keys of the expiry bucket point to.
func (tx *boltTx) remove(due [][]byte) error {
	for _, k := range due {
		err := tx.expiry.Delete(k)
		if err != nil {
			return err
		}
		if len(k) <= expiryPrefix {
			continue
		}
		key := k[expiryPrefix:]
		s, err := decodeRecord(key, tx.records.Get(key))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		// A record that cannot be read is removed without its index entries,
		// which then point to nothing; List passes over them.
		if err == nil {
			if !expired(s.expires, tx.now) {
				continue
			}
			err = tx.leave(key, s.indexes)
			if err != nil {
				return err
			}
		}
		err = tx.records.Delete(key)
		if err != nil {
			return err
		}
	}
	return nil
}
