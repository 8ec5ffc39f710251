package store

import (
	"bytes"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// boltTx is one transaction that moves changes into the database. It ends with
// finish.
type boltTx struct {
	records, meta *bbolt.Bucket
	index, expiry keyBucket
	now           time.Time
}

func newBoltTx(tx *bbolt.Tx, now time.Time) *boltTx {
	return &boltTx{
		records: tx.Bucket(recordBucket),
		index:   keyBucket{bucket: tx.Bucket(indexBucket)},
		expiry:  keyBucket{bucket: tx.Bucket(expiryBucket)},
		meta:    tx.Bucket(metaBucket),
		now:     now,
	}
}

// replace puts the record of a change, or nothing, into the place of what there
// is, if there may be something. Keys and values are not changed any more, so bbolt
// may keep them until the transaction ends.
func (tx *boltTx) replace(c *boltChange, mayExist bool) error {
	key := []byte(c.name)
	old, err := &stored{}, error(nil)
	if mayExist {
		old, err = decodeRecord(key, tx.records.Get(key))
	}
	if err != nil {
		// There is none, or it was damaged since the change was decided upon.
		// The index entries of a damaged one then point to nothing of theirs;
		// List passes over them.
		old = &stored{}
	}
	for _, x := range missing(old.indexes, c.indexes()) {
		tx.index.remove(appendIndexKey(tx.index.room(), c.kind, x, c.id))
	}
	for _, x := range missing(c.indexes(), old.indexes) {
		tx.index.add(appendIndexKey(tx.index.room(), c.kind, x, c.id))
	}
	tx.reschedule(key, old.expires, c.expires())
	if c.value == nil {
		return tx.records.Delete(key)
	}
	return tx.records.Put(key, c.value)
}

// reschedule moves the record under key to another place in the expiry bucket.
func (tx *boltTx) reschedule(key []byte, from, to int64) {
	if from == to {
		return
	}
	if from != 0 {
		tx.expiry.remove(appendExpiryKey(tx.expiry.room(), from, key))
	}
	if to != 0 {
		tx.expiry.add(appendExpiryKey(tx.expiry.room(), to, key))
	}
}

// leave removes index entries of the record under key.
func (tx *boltTx) leave(key []byte, entries []Index) {
	kind, id := splitKey(key)
	for _, x := range entries {
		tx.index.remove(appendIndexKey(tx.index.room(), kind, x, id))
	}
}

// finish does what is left to do.
func (tx *boltTx) finish() error {
	err := tx.index.finish()
	if err != nil {
		return err
	}
	return tx.expiry.finish()
}

// keyBucket is a bucket of keys without values. It gathers what a transaction adds
// and removes, and does all of it at the end in the order of the keys: a bucket
// takes many keys that come in order in far less time than as many that do not, since
// it splits no page before the transaction ends.
type keyBucket struct {
	bucket         *bbolt.Bucket
	added, removed [][]byte
	buf            []byte // where keys lie
}

// room returns where the next key may be appended.
func (b *keyBucket) room() []byte {
	const longest = maxIndexPrefix + maxKey
	if cap(b.buf)-len(b.buf) < longest {
		b.buf = make([]byte, 0, 64*longest)
	}
	return b.buf[len(b.buf):]
}

// add adds a key that was appended to room.
func (b *keyBucket) add(key []byte) { b.added = append(b.added, b.take(key)) }

// remove removes a key that was appended to room. No key is both added and removed.
func (b *keyBucket) remove(key []byte) { b.removed = append(b.removed, b.take(key)) }

func (b *keyBucket) take(key []byte) []byte {
	if len(key) <= cap(b.buf)-len(b.buf) { // else it is a stray one, and lies elsewhere
		b.buf = b.buf[:len(b.buf)+len(key)]
	}
	return key[:len(key):len(key)]
}

func (b *keyBucket) finish() error {
	slices.SortFunc(b.removed, bytes.Compare)
	for _, key := range b.removed {
		err := b.bucket.Delete(key)
		if err != nil {
			return err
		}
	}
	slices.SortFunc(b.added, bytes.Compare)
	for _, key := range b.added {
		err := b.bucket.Put(key, nil)
		if err != nil {
			return err
		}
	}
	return nil
}
