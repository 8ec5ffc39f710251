// Package store is the contract by which the gateway and the provider keep
// state, and the engines that fulfil it.
//
// A store holds records. A record has a kind and an id, opaque data, any number
// of index entries, an optional expiry, and a version that the store counts.
// Whatever must happen once is one conditional write: [Store.Create] lets one
// of any number of callers make a record, and [Store.Update] lets one of any
// number of callers move it on from the version that they all have read.
// The suite in package storetest proves both for every engine.
//
// Ids, index values and data are written as they are given. Callers hash what
// is secret before it becomes an id or an index value, and encrypt what is
// secret in the data.
package store

import (
	"context"
	"errors"
	"time"
)

// Errors that every engine returns, possibly wrapped. After one of these
// nothing was written. Any other error means that the engine could not do its
// work, and for a write it leaves open whether the write happened: the caller
// must fail closed, and learns the truth by reading the record again.
var (
	// ErrNotFound says that no record with this kind and id exists, or that
	// its expiry has passed.
	ErrNotFound = errors.New("record not found")

	// ErrExists says that Create found a record which has not expired.
	ErrExists = errors.New("record exists")

	// ErrConflict says that the record is no longer at the version that the
	// caller has read. Somebody else's write came first.
	ErrConflict = errors.New("record was changed by another writer")

	// ErrInvalid says that a name, the data or another argument is outside the
	// limits below. It is a mistake of the caller that no repetition cures.
	ErrInvalid = errors.New("invalid store argument")

	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("store is closed")
)

// Limits on names and data, in bytes, and on the number of index entries of a
// record. Every engine can bear them, so that a record which one engine takes
// is taken by all.
const (
	MaxKind    = 64
	MaxID      = 512
	MaxIndex   = 512
	MaxIndexes = 32
	MaxData    = 64 << 20
)

// Record is one unit of state. The store copies records on their way in and
// out: a caller may keep and change what it passed and what it got.
type Record struct {
	// Kind groups records of one type, for example "gateway.transaction". It
	// has 1 to MaxKind bytes without NUL.
	Kind string

	// ID names the record within its kind. It has 1 to MaxID bytes without NUL.
	ID string

	// Version is counted by the store: 1 after Create, one more after each
	// Update. Update writes only if the stored version is still this one.
	// A record that is created again, after its predecessor was deleted or
	// had expired, starts at 1 again.
	Version uint64

	// Data is the caller's, whatever it likes, up to MaxData bytes. Empty and
	// nil data are the same, and are read back as nil.
	Data []byte

	// Indexes are the entries under which List finds the record, at most
	// MaxIndexes of them. Their order is kept; an entry given twice counts
	// once.
	Indexes []Index

	// Expires is when the record stops to exist for all readers, by the
	// store's clock. It is cut to whole milliseconds and read back in UTC.
	// Zero means never.
	Expires time.Time

	// Relaxed permits Create and Update to return before the write is durable. If
	// the process is killed soon after, the write, and the relaxed ones before it,
	// may be undone: the record is then as it was some seconds earlier, or not
	// there. Until then the write counts like any other, for all readers and
	// writers, and Close keeps it. It is for what is good to know and does no harm
	// when it is forgotten, such as when somebody came last. Relaxed is of the
	// write, not of the record: what is read has it unset.
	Relaxed bool
}

// Index is a named value under which a record can be listed.
type Index struct {
	// Name has 1 to MaxKind bytes without NUL.
	Name string

	// Value has 0 to MaxIndex bytes without NUL.
	Value string
}

// Store is safe for concurrent use. A write that returned nil is durable as far
// as the engine can make it so, unless it was relaxed, and visible to every later
// read on every node.
//
// Every method that takes a context returns its error, wrapped or not, when it
// ends before the work is done. A write that had begun by then may still
// happen.
//
// Several processes may share a PostgreSQL store; a bbolt file has one process
// at a time; a memory store is its process's own and gone with it.
type Store interface {
	// Create writes a record that does not exist yet, or whose predecessor has
	// expired, and sets r.Version to 1. Otherwise it returns ErrExists. The
	// version that r had before does not matter.
	Create(ctx context.Context, r *Record) error

	// Get returns the record, or ErrNotFound.
	Get(ctx context.Context, kind, id string) (*Record, error)

	// Update replaces data, indexes and expiry of the record if it is still at
	// r.Version, and counts r.Version up. Otherwise it returns ErrConflict, or
	// ErrNotFound if the record is gone; r is then unchanged.
	Update(ctx context.Context, r *Record) error

	// Delete removes the record if it is still at version, and returns
	// ErrConflict or ErrNotFound otherwise. Version 0 removes any version.
	Delete(ctx context.Context, kind, id string, version uint64) error

	// List returns records of a kind that carry the index entry, ordered by
	// the bytes of their ids, starting behind the id after ("" for the first),
	// at most limit of them (limit must be positive). Expired records are left
	// out. A result shorter than limit is the last page.
	List(ctx context.Context, kind string, index Index, after string, limit int) ([]*Record, error)

	// Watch reports changes of one record: the channel receives a value after
	// each Create, Update and Delete of it on any node. Values are merged
	// when the receiver is slow, so a receiver reads the record again and must
	// bear a wake-up without a change. Expiry wakes nobody. Stop ends the
	// watch; it must be called and may be called more than once. The channel
	// is never closed.
	//
	// Read the record after Watch returned and before waiting, or a change in
	// between is missed. Closing the store wakes every watch once. Where nodes
	// share a store, a node that dies between its write and its word of it
	// leaves the others asleep: a receiver that waits long also looks again by
	// its own timer.
	Watch(kind, id string) (changes <-chan struct{}, stop func())

	// WatchIndex reports in the same way changes of any record of the kind that
	// carries the index entry before or after the change.
	WatchIndex(kind string, index Index) (changes <-chan struct{}, stop func())

	// Ping reports whether the store can serve reads and writes now.
	Ping(ctx context.Context) error

	// Close ends what has begun and releases what the store holds. Later calls
	// return ErrClosed, except for Close itself, which then returns nil.
	Close() error
}
