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
	// so many bytes in the journal, and every so many sweeps. The more of them move
	// at once, the less each costs, and what changes in the meantime moves once.
	// Until then they take memory, and time when a store is opened that was not
	// closed: some hundredths of a second for each MiB of the journal.
	foldChanges = 32768
	foldBytes   = 32 << 20
	foldSweeps  = 6

	// maxJournal is when no more writes are taken, if they can't.
	maxJournal = 256 << 20
)

// write is the goroutine that writes both files. While the disk takes one batch,
// further writes gather for the next: that is the group commit, and a lone
// writer waits for nobody.
func (b *Bolt) write(sweepInterval time.Duration) {
	defer close(b.writes.ended)
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	var expected expectation
	sweeps := 0
	for {
		sweeping := false
		select {
		case <-b.writes.wake:
			b.writes.gather(expected.writers)
		case <-sweep.C:
			sweeping = true
			sweeps++
		}
		for {
			batch := b.writes.take()
			if len(batch) > 0 {
				b.commit(batch)
				expected.learn(len(batch), b.writes.backlog())
			} else if !sweeping {
				break
			}
			if sweeping {
				sweeping = b.sweep(sweeps%foldSweeps == 0) && !b.writes.isClosed()
			} else {
				b.writes.gather(expected.writers)
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
	changes := b.judge(batch)
	err := b.log(batch, changes)
	b.judging.Lock()
	if err == nil {
		b.recent.add(changes...)
	}
	clear(b.staged)
	b.judging.Unlock()
	for _, op := range batch {
		if err != nil {
			op.err = err
		}
		if op.err == nil && op.change != nil {
			b.watches.changed(op.change.kind, op.change.id, op.before, op.change.indexes())
		}
		if op.done != nil {
			op.done <- struct{}{}
		}
	}
	// If moving has failed, the next sweep tries again.
	if b.unfolded == nil && (b.recent.firm() >= foldChanges || b.journal.end >= foldBytes) {
		b.unfolded = b.fold(b.linger)
	}
}

// judge decides which writes may happen, one after the other, and returns what
// they change. A refusal is the write's own: it goes to op.err.
func (b *Bolt) judge(batch []*boltOp) []*boltChange {
	b.judging.Lock()
	defer b.judging.Unlock()
	changes := make([]*boltChange, 0, len(batch))
	now := b.now()
	for _, op := range batch {
		if op.change == nil {
			continue
		}
		op.err = b.allow(op, now)
		if op.err != nil {
			continue
		}
		b.staged[op.change.name] = op.change
		changes = append(changes, op.change)
	}
	return changes
}

// allow decides on one write on top of what there is.
func (b *Bolt) allow(op *boltOp, now time.Time) error {
	old, err := b.current(op.change)
	if err != nil {
		return err
	}
	err = op.refuse(old, now)
	if err == nil && old != nil {
		op.before = old.indexes
	}
	return err
}

// current returns what there is of a record that somebody wants to change, or nil.
func (b *Bolt) current(next *boltChange) (*stored, error) {
	c := b.staged[next.name]
	if c == nil {
		c = b.recent.get(appendKey(make([]byte, 0, maxKey), next.kind, next.id))
	}
	if c != nil {
		return c.after(), nil
	}
	if !b.filter.Load().mayHaveName(next.name) {
		return nil, nil
	}
	var s *stored
	err := b.view(func(tx *bbolt.Tx) (err error) {
		key := []byte(next.name)
		s, err = decodeRecord(key, tx.Bucket(recordBucket).Get(key))
		if s != nil {
			s.data = nil // it is the file's
		}
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return s, err
}

// relax makes a relaxed change here and now. It reports false if it can't: the
// record is on its way to the disk, or the disk is not well, and the writer must
// see to it.
func (b *Bolt) relax(op *boltOp) (done bool) {
	b.judging.Lock()
	defer b.judging.Unlock()
	if b.stuck || b.staged[op.change.name] != nil || b.writes.isClosed() {
		return false
	}
	op.err = b.allow(op, b.now())
	if op.err == nil {
		b.recent.add(op.change)
		b.watches.changed(op.change.kind, op.change.id, op.before, op.change.indexes())
	}
	return true
}

// awaitRelaxed waits for a relaxed write that has begun. Once the queue is closed no
// other begins.
func (b *Bolt) awaitRelaxed() {
	b.judging.Lock()
	defer b.judging.Unlock()
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
		b.unfolded = b.fold(b.linger)
		if b.unfolded != nil {
			return b.unfolded
		}
	}
	return b.journal.append(changes)
}

// fold moves recent changes into the database, in one transaction that also says
// which journal comes next: all of them but the relaxed ones that expire sooner than
// linger says.
func (b *Bolt) fold(linger time.Duration) error {
	err := b.move(linger)
	b.judging.Lock()
	defer b.judging.Unlock()
	b.stuck = err != nil
	return err
}

func (b *Bolt) move(linger time.Duration) error {
	now, filter := b.now(), b.filter.Load()
	changes := b.recent.beginMove(now, now.Add(linger), filter.mayHaveName)
	if len(changes) == 0 && b.journal.fresh() {
		b.recent.abortMove()
		return nil
	}
	err := b.checkFiles()
	if err != nil {
		b.recent.abortMove()
		return err
	}
	next := newEpoch()
	begun := false
	err = guarded(func() error {
		return b.db.Update(func(tx *bbolt.Tx) error {
			t := newBoltTx(tx, now)
			for _, c := range changes {
				mayExist := filter.mayHaveName(c.name)
				filter.addChange(c)
				err := t.replace(c, mayExist)
				if err != nil {
					return err
				}
			}
			err := t.finish()
			if err != nil {
				return err
			}
			begun = true
			return t.meta.Put(epochKey, next[:])
		})
	})
	if err != nil {
		b.recent.abortMove()
		// Once the transaction is on its way, nobody knows which journal the
		// database expects, and nothing more may go into this one.
		b.journal.failed = b.journal.failed || begun
		return fmt.Errorf("moving writes from the journal into the database: %w", err)
	}
	b.recent.endMove(b.journal.end <= 2*foldBytes) // else it is too much to keep
	b.journal.restart(next)
	if filter != nil && filter.room < 0 {
		b.filter.Store(readFilter(b.db))
	}
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
