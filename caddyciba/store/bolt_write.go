package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// Recent changes move into the database when there are so many of them, or
	// so many bytes in the journal, and with every sweep.
	foldChanges = 4096
	foldBytes   = 8 << 20

	// maxJournal is when no more writes are taken, if they can't.
	maxJournal = 256 << 20

	// sweepChunk is how many expired records one transaction removes. Writes
	// that wait get their turn in between.
	sweepChunk = 256
)

// write is the goroutine that writes both files. While the disk takes one batch,
// further writes gather for the next: that is the group commit, and a lone
// writer waits for nobody.
func (b *Bolt) write(sweepInterval time.Duration) {
	defer close(b.writes.ended)
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	writers := 0 // that were seen at the last turn
	for {
		sweeping := false
		select {
		case <-b.writes.wake:
			b.writes.gather(writers)
		case <-sweep.C:
			sweeping = true
		}
		for {
			batch := b.writes.take()
			if len(batch) > 0 {
				b.commit(batch)
				writers = len(batch) + b.writes.backlog()
			} else if !sweeping {
				break
			}
			if sweeping {
				sweeping = b.sweep() && !b.writes.isClosed()
			} else {
				b.writes.gather(writers)
			}
		}
		if b.writes.drained() {
			return
		}
	}
}

// commit decides on the writes, makes them durable together, and reports to their
// callers.
func (b *Bolt) commit(batch []*boltOp) {
	b.writing.Lock()
	defer b.writing.Unlock()
	changes, err := b.judge(batch)
	if err == nil {
		err = b.log(batch, changes)
	}
	if err == nil {
		b.recent.add(changes)
	}
	for _, op := range batch {
		if err != nil {
			op.err = err
		}
		if op.err == nil && op.change != nil {
			b.watches.changed(op.change.kind, op.change.id, op.before, op.change.indexes())
		}
		close(op.done)
	}
	// If moving has failed, the next sweep tries again.
	if b.unfolded == nil && (b.recent.length() >= foldChanges || b.journal.end >= foldBytes) {
		b.unfolded = b.fold()
	}
}

// judge decides which writes may happen, one after the other, and returns what
// they change. A refusal is the write's own: it goes to op.err.
func (b *Bolt) judge(batch []*boltOp) ([]*boltChange, error) {
	changes := make([]*boltChange, 0, len(batch))
	now := b.now()
	err := b.view(func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordBucket)
		staged := make(map[string]*boltChange, len(batch))
		for _, op := range batch {
			if op.change == nil {
				continue
			}
			old, err := b.current(records, staged, op.change.key)
			if err != nil {
				op.err = err
				continue
			}
			op.err = op.refuse(old, now)
			if op.err != nil {
				continue
			}
			if old != nil {
				op.before = old.indexes
			}
			staged[string(op.change.key)] = op.change
			changes = append(changes, op.change)
		}
		return nil
	})
	return changes, err
}

// current returns what there is of a record, or nil.
func (b *Bolt) current(records *bbolt.Bucket, staged map[string]*boltChange, key []byte) (*stored, error) {
	c := staged[string(key)]
	if c == nil {
		c = b.recent.get(key)
	}
	if c != nil {
		return c.after, nil
	}
	var s *stored
	err := guarded(func() (err error) {
		s, err = decodeRecord(key, records.Get(key))
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return s, err
}

// log writes the changes of a batch into the journal. A journal that has failed
// may have on the disk what it has reported as an error; moving what came before
// into the database puts an end to that.
func (b *Bolt) log(batch []*boltOp, changes []*boltChange) error {
	if len(changes) == 0 && !slices.ContainsFunc(batch, func(op *boltOp) bool { return op.what == opPing }) {
		return nil
	}
	err := b.checkFiles()
	if err != nil {
		return err
	}
	if b.journal.failed || b.journal.end >= maxJournal {
		b.unfolded = b.fold()
		if b.unfolded != nil {
			return b.unfolded
		}
	}
	return b.journal.append(changes)
}

// fold moves all recent changes into the database, in one transaction that also
// says which journal comes next.
func (b *Bolt) fold() error {
	if b.journal.fresh() {
		return nil
	}
	err := b.checkFiles()
	if err != nil {
		return err
	}
	next := newEpoch()
	begun := false
	err = guarded(func() error {
		return b.db.Update(func(tx *bbolt.Tx) error {
			t := newBoltTx(tx, b.now())
			for _, c := range b.recent.sorted() {
				err := t.replace(c)
				if err != nil {
					return err
				}
			}
			begun = true
			return t.meta.Put(epochKey, next[:])
		})
	})
	if err != nil {
		// Once the transaction is on its way, nobody knows which journal the
		// database expects, and nothing more may go into this one.
		b.journal.failed = b.journal.failed || begun
		return fmt.Errorf("moving writes from the journal into the database: %w", err)
	}
	b.recent.move()
	if b.journal.end > 2*foldBytes {
		b.recent.clear() // too much to keep
	}
	b.journal.restart(next)
	return nil
}

// checkFiles refuses to write into files that no longer have a name: all that
// went into them would be gone with the process.
func (b *Bolt) checkFiles() error {
	return errors.Join(checkFile(b.path, b.file), checkFile(b.journal.path, b.journal.info))
}

func checkFile(path string, opened os.FileInfo) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(info, opened) {
		return fmt.Errorf("%s was replaced while it was open", path)
	}
	return nil
}

// sweep moves the recent changes into the database, removes a chunk of expired
// records, and reports whether there are more.
func (b *Bolt) sweep() (more bool) {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.unfolded = b.fold()
	if b.unfolded != nil {
		b.writes.setSwept(b.explain("writing to", b.unfolded))
		return false
	}
	var due [][]byte
	err := b.view(func(tx *bbolt.Tx) error {
		due = expiredKeys(tx, b.now())
		return nil
	})
	if err == nil && len(due) > 0 {
		err = b.checkFiles()
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
