package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

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
	name := kind + "\x00" + id
	c := b.recent.get(name)
	if c != nil {
		return c.found(kind, id, b.now())
	}
	if !b.filter.Load().mayHaveName(name) {
		return nil, ErrNotFound
	}
	key := []byte(name)
	var found *Record
	err = b.view(func(tx *bbolt.Tx) error {
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

// found returns the record as the change has left it.
func (c *boltChange) found(kind, id string, now time.Time) (*Record, error) {
	if c.gone(now) {
		return nil, ErrNotFound
	}
	r := c.state.record(kind, id)
	r.Indexes = slices.Clone(r.Indexes)
	return r, nil
}

// List implements [Store].
func (b *Bolt) List(ctx context.Context, kind string, index Index, after string, limit int) ([]*Record, error) {
	err := checkList(kind, index, after, limit)
	if err != nil {
		return nil, err
	}
	err = live(ctx)
	if err != nil {
		return nil, err
	}
	prefix := appendIndexKey(nil, kind, index, "")
	l := boltList{kind: kind, index: index, limit: limit, now: b.now()}
	// This comes before the transaction: what moves into the database in the
	// meantime is then in both, instead of in neither.
	l.added, l.recent = b.recent.listed(prefix, after)
	if !b.filter.Load().mayHave(prefix) {
		l.addBefore("")
		return l.page, nil
	}
	err = b.view(func(tx *bbolt.Tx) error {
		l.records = tx.Bucket(recordBucket)
		cursor := tx.Bucket(indexBucket).Cursor()
		for k, _ := cursor.Seek(append(slices.Clone(prefix), after...)); bytes.HasPrefix(k, prefix) && !l.full(); k, _ = cursor.Next() {
			err := live(ctx)
			if err != nil {
				return err
			}
			id := string(k[len(prefix):])
			if id == after {
				continue
			}
			l.addBefore(id)
			err = l.addStored(id)
			if err != nil {
				return err
			}
		}
		l.addBefore("")
		return live(ctx)
	})
	if err != nil {
		return nil, err
	}
	return l.page, nil
}

// boltList puts one page together from the recent changes and the database.
type boltList struct {
	recent  recentView
	records *bbolt.Bucket
	kind    string
	index   Index
	limit   int
	now     time.Time

	added []*boltChange // recent ones with the index entry, by id
	page  []*Record
}

func (l *boltList) full() bool { return len(l.page) >= l.limit }

// addBefore adds the recent changes with ids up to the given one, or all of them
// if it is empty.
func (l *boltList) addBefore(id string) {
	for len(l.added) > 0 && !l.full() && (id == "" || l.added[0].id < id) {
		r, err := l.added[0].found(l.kind, l.added[0].id, l.now)
		if err == nil {
			l.page = append(l.page, r)
		}
		l.added = l.added[1:]
	}
}

// addStored adds a record that the database has under the index entry, unless a
// recent change says something else of it.
func (l *boltList) addStored(id string) error {
	if l.full() {
		return nil
	}
	if len(l.added) > 0 && l.added[0].id == id {
		l.addBefore(id + "\x00")
		return nil
	}
	key := appendKey(make([]byte, 0, maxKey), l.kind, id)
	c := l.recent.get(string(key))
	if c != nil {
		if slices.Contains(c.indexes(), l.index) {
			r, err := c.found(l.kind, id, l.now)
			if err == nil {
				l.page = append(l.page, r)
			}
		}
		return nil
	}
	s, err := decodeRecord(key, l.records.Get(key))
	if errors.Is(err, ErrNotFound) {
		return nil // what a damaged and swept record left behind
	}
	if err != nil {
		return err
	}
	if !expired(s.expires, l.now) && slices.Contains(s.indexes, l.index) {
		l.page = append(l.page, s.record(l.kind, id))
	}
	return nil
}
