package store

import (
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// sweepChunk is how many expired records one transaction removes. Writes that wait
// get their turn in between.
const sweepChunk = 256

// sweep moves the recent changes into the database, if it shall or could not the last
// time, removes a chunk of expired records, and reports whether there are more. Each
// sweep also makes durable what is relaxed and lasts.
func (b *Bolt) sweep(fold bool) (more bool) {
	b.writing.Lock()
	defer b.writing.Unlock()
	var err error
	if fold || b.unfolded != nil {
		b.unfolded = b.fold(b.linger)
		err = b.unfolded
	} else {
		err = b.tidy()
	}
	if err != nil {
		b.writes.setSwept(b.explain("writing to", err))
		return false
	}
	more, err = b.removeExpired()
	if err != nil {
		err = b.explain("removing expired records from", err)
	}
	b.writes.setSwept(err)
	return more
}

// tidy writes relaxed changes that last into the journal, and forgets those that are
// gone.
func (b *Bolt) tidy() error {
	now := b.now()
	lasting := b.recent.tidy(now, now.Add(b.linger), b.filter.Load().mayHaveName)
	var err error
	if len(lasting) > 0 {
		err = b.log(nil, lasting)
	}
	if err == nil {
		b.recent.journaled(lasting)
	}
	b.judging.Lock()
	defer b.judging.Unlock()
	b.stuck = err != nil
	return err
}

// removeExpired removes a chunk of expired records from the database, and reports
// whether there are more. What is recent is newer, and has its own say.
func (b *Bolt) removeExpired() (more bool, err error) {
	var due [][]byte
	err = b.view(func(tx *bbolt.Tx) error {
		due = expiredKeys(tx, b.now())
		return nil
	})
	if err != nil || len(due) == 0 {
		return false, err
	}
	err = b.checkFiles()
	if err != nil {
		return false, err
	}
	err = guarded(func() error {
		return b.db.Update(func(tx *bbolt.Tx) error {
			t := newBoltTx(tx, b.now())
			err := t.remove(due)
			if err != nil {
				return err
			}
			return t.finish()
		})
	})
	return err == nil && len(due) == sweepChunk, err
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
		tx.expiry.remove(append(tx.expiry.room(), k...))
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
			tx.leave(key, s.indexes)
		}
		err = tx.records.Delete(key)
		if err != nil {
			return err
		}
	}
	return nil
}
