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
	key := appendKey(make([]byte, 0, maxKey), kind, id)
	c := b.recent.get(key)
	if c != nil {
		return c.found(kind, id, b.now())
	}
	if !b.filter.Load().mayHave(key) {
		return nil, ErrNotFound
	}
	return b.load(kind, id)
}

// load returns a record from the database.
func (b *Bolt) load(kind, id string) (*Record, error) {
	key := appendKey(nil, kind, id)
	var found *Record
	err := b.view(func(tx *bbolt.Tx) error {
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
	l := boltList{kind: kind, index: index, after: after, limit: limit, now: b.now()}
	// This comes before the transaction: what moves into the database in the
	// meantime is then in both, instead of in neither.
	l.added, l.recent = b.recent.listed(indexKey{kind, index}, after)
	prefix := appendIndexKey(make([]byte, 0, maxIndexPrefix), kind, index, "")
	if b.filter.Load().mayHave(prefix) {
		err = b.list(ctx, &l)
		if err != nil {
			return nil, err
		}
	}
	l.addBefore("")
	return l.page, nil
}

// list adds to a page what the database has for it.
func (b *Bolt) list(ctx context.Context, l *boltList) error {
	return b.view(func(tx *bbolt.Tx) error {
		l.records = tx.Bucket(recordBucket)
		cursor := tx.Bucket(indexBucket).Cursor()
		prefix := appendIndexKey(nil, l.kind, l.index, "")
		for k, _ := cursor.Seek(appendIndexKey(nil, l.kind, l.index, l.after)); bytes.HasPrefix(k, prefix) && !l.full(); k, _ = cursor.Next() {
			err := live(ctx)
			if err != nil {
				return err
			}
			id := string(k[len(prefix):])
			if id == l.after {
				continue
			}
			l.addBefore(id)
			err = l.addStored(id)
			if err != nil {
				return err
			}
		}
		return live(ctx)
	})
}

// boltList puts one page together from the recent changes and the database.
type boltList struct {
	recent  recentView
	records *bbolt.Bucket
	kind    string
	index   Index
	after   string
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
	c := l.recent.get(key)
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
