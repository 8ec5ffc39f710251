package store

import (
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"
)

// opKind is what a write does.
type opKind int

const (
	opCreate opKind = iota
	opUpdate
	opDelete
	opPing
)

// boltOp is one write on its way to the file. The caller prepares all of it
// that does not depend on the file; from then on it belongs to the writer
// until done is closed.
type boltOp struct {
	what     opKind
	kind, id string
	key      []byte
	version  uint64 // that the stored record must have; for opDelete 0 is any
	indexes  []Index
	expires  int64
	value    []byte // the encoded record

	before []Index // index entries that the record had before the write
	err    error
	done   chan struct{}
}

func newBoltPut(what opKind, r *Record, version uint64) *boltOp {
	op := &boltOp{
		what:    what,
		kind:    r.Kind,
		id:      r.ID,
		key:     appendKey(nil, r.Kind, r.ID),
		version: version - 1,
		indexes: uniqueIndexes(r.Indexes),
		expires: toMillis(r.Expires),
		done:    make(chan struct{}),
	}
	op.value = encodeRecord(op.key, &stored{version: version, expires: op.expires, indexes: op.indexes, data: r.Data})
	return op
}

func newBoltDelete(kind, id string, version uint64) *boltOp {
	return &boltOp{what: opDelete, kind: kind, id: id, key: appendKey(nil, kind, id), version: version, done: make(chan struct{})}
}

func newBoltPing() *boltOp {
	return &boltOp{what: opPing, done: make(chan struct{})}
}

// boltTx is one transaction that several writes share.
type boltTx struct {
	records, index, expiry, meta *bbolt.Bucket
	now                          time.Time
}

func newBoltTx(tx *bbolt.Tx, now time.Time) *boltTx {
	return &boltTx{
		records: tx.Bucket(recordBucket),
		index:   tx.Bucket(indexBucket),
		expiry:  tx.Bucket(expiryBucket),
		meta:    tx.Bucket(metaBucket),
		now:     now,
	}
}

// apply does one write. A refusal is the write's own: it goes to op.err and
// has changed nothing. An error means that the transaction cannot go on.
func (tx *boltTx) apply(op *boltOp) error {
	if op.what == opPing {
		return tx.meta.Put(pingKey, binary.BigEndian.AppendUint64(nil, uint64(tx.now.UnixMilli())))
	}
	// The key and the value of a write are not changed any more, so bbolt may
	// keep them until the transaction ends.
	old, err := decodeRecord(op.key, tx.records.Get(op.key))
	if err != nil && !errors.Is(err, ErrNotFound) {
		op.err = err
		return nil
	}
	op.err = op.refuse(old, tx.now)
	if op.err != nil {
		return nil
	}
	if old == nil {
		old = &stored{}
	}
	op.before = old.indexes
	return tx.replace(op, old)
}

// refuse decides whether the write may happen on top of old, which is nil if
// there is no record. This is where one of many callers wins.
func (op *boltOp) refuse(old *stored, now time.Time) error {
	found := old != nil && !expired(old.expires, now)
	switch {
	case op.what == opCreate && found:
		return ErrExists
	case op.what == opCreate:
		return nil
	case !found:
		return ErrNotFound
	case op.what == opDelete && op.version == 0:
		return nil
	case old.version != op.version:
		return ErrConflict
	default:
		return nil
	}
}

// replace puts the write's record, or nothing, into the place of old.
func (tx *boltTx) replace(op *boltOp, old *stored) error {
	err := tx.leave(op.key, missing(old.indexes, op.indexes))
	if err != nil {
		return err
	}
	for _, x := range missing(op.indexes, old.indexes) {
		err = tx.index.Put(appendIndexKey(nil, op.kind, x, op.id), nil)
		if err != nil {
			return err
		}
	}
	if old.expires != op.expires && old.expires != 0 {
		err = tx.expiry.Delete(appendExpiryKey(nil, old.expires, op.key))
		if err != nil {
			return err
		}
	}
	if old.expires != op.expires && op.expires != 0 {
		err = tx.expiry.Put(appendExpiryKey(nil, op.expires, op.key), nil)
		if err != nil {
			return err
		}
	}
	if op.what == opDelete {
		return tx.records.Delete(op.key)
	}
	return tx.records.Put(op.key, op.value)
}

// leave removes index entries of the record under key.
func (tx *boltTx) leave(key []byte, entries []Index) error {
	kind, id := splitKey(key)
	for _, x := range entries {
		err := tx.index.Delete(appendIndexKey(nil, kind, x, id))
		if err != nil {
			return err
		}
	}
	return nil
}
