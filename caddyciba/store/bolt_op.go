package store

import (
	"hash/crc32"
	"time"
)

// boltChange is what a write makes of a record. It is not changed any more once
// it is made, but for what belongs to boltRecent. Many of them are in memory, so it
// consists of few pieces.
type boltChange struct {
	name     string // the key
	kind, id string // parts of it
	state    stored // behind the write
	value    []byte // state, encoded; nil if the record is gone

	// Of boltRecent:
	relaxed bool           // neither the journal nor the database needs to have it
	places  []indexedPlace // one for each index entry
}

func newBoltChange(kind, id string) *boltChange {
	name := kind + "\x00" + id
	return &boltChange{name: name, kind: name[:len(kind)], id: name[len(kind)+1:]}
}

// after returns the record behind the write, or nil if it is gone.
func (c *boltChange) after() *stored {
	if c.value == nil {
		return nil
	}
	return &c.state
}

// gone reports whether there is no record any more at a time.
func (c *boltChange) gone(at time.Time) bool {
	return c.value == nil || expired(c.state.expires, at)
}

func (c *boltChange) indexes() []Index {
	return c.state.indexes
}

func (c *boltChange) expires() int64 {
	return c.state.expires
}

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
// until done has a value.
type boltOp struct {
	what    opKind
	version uint64 // that the stored record must have; for opDelete 0 is any
	change  *boltChange

	before []Index // index entries that the record had before the write
	err    error
	done   chan struct{} // has room for one value; made by boltQueue
}

func newBoltPut(what opKind, r *Record, version uint64) *boltOp {
	c := newBoltChange(r.Kind, r.ID)
	c.state = stored{version: version, expires: toMillis(r.Expires), indexes: uniqueIndexes(r.Indexes), data: r.Data}
	c.value = encodeRecord(c.name, &c.state)
	c.relaxed = r.Relaxed
	// The data of the caller stay the caller's.
	end := len(c.value) - crc32.Size
	c.state.data = c.value[end-len(r.Data) : end]
	return &boltOp{what: what, version: version - 1, change: c}
}

func newBoltDelete(kind, id string, version uint64) *boltOp {
	return &boltOp{what: opDelete, version: version, change: newBoltChange(kind, id)}
}

func newBoltPing() *boltOp {
	return &boltOp{what: opPing}
}

// size is about how many bytes the write takes.
func (op *boltOp) size() int {
	if op.change == nil {
		return 0
	}
	return len(op.change.name) + len(op.change.value)
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
