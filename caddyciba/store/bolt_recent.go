package store

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
)

// boltRecent holds the changes that are in the journal and not in the database
// yet: for each record the last one. What it knows of a record is what counts.
type boltRecent struct {
	mu      sync.RWMutex
	changes map[string]*boltChange            // by key
	indexed map[string]map[string]*boltChange // by key in the index bucket without id, then by id

	// moved are the changes that have moved into the database last, by key. They
	// spare reading there what was written a moment ago.
	moved map[string]*boltChange
}

// add makes changes visible.
func (r *boltRecent) add(changes []*boltChange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes == nil {
		r.changes = make(map[string]*boltChange)
		r.indexed = make(map[string]map[string]*boltChange)
	}
	for _, c := range changes {
		before := r.changes[string(c.key)]
		if before != nil {
			r.leave(before)
		}
		r.changes[string(c.key)] = c
		for _, x := range c.indexes() {
			prefix := string(appendIndexKey(nil, c.kind, x, ""))
			if r.indexed[prefix] == nil {
				r.indexed[prefix] = make(map[string]*boltChange)
			}
			r.indexed[prefix][c.id] = c
		}
	}
}

func (r *boltRecent) leave(c *boltChange) {
	for _, x := range c.indexes() {
		prefix := string(appendIndexKey(nil, c.kind, x, ""))
		delete(r.indexed[prefix], c.id)
		if len(r.indexed[prefix]) == 0 {
			delete(r.indexed, prefix)
		}
	}
}

// get returns the last change of a record, or nil if it is not at hand.
func (r *boltRecent) get(key []byte) *boltChange {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := r.changes[string(key)]
	if c == nil {
		c = r.moved[string(key)]
	}
	return c
}

// recentView is the recent changes as somebody sees them who begins to read the
// database after them. It keeps what moves into the database in the meantime, of
// which a transaction that has begun knows nothing.
type recentView struct {
	of             *boltRecent
	changes, moved map[string]*boltChange
}

// listed returns the changes that carry an index entry, ordered by id, behind one
// of them, and a view of all others.
func (r *boltRecent) listed(prefix []byte, after string) ([]*boltChange, recentView) {
	r.mu.RLock()
	var found []*boltChange
	for id, c := range r.indexed[string(prefix)] {
		if id > after {
			found = append(found, c)
		}
	}
	view := recentView{of: r, changes: r.changes, moved: r.moved}
	r.mu.RUnlock()
	slices.SortFunc(found, func(a, b *boltChange) int { return strings.Compare(a.id, b.id) })
	return found, view
}

// get returns the last change of a record, or nil if it is not at hand.
func (v recentView) get(key []byte) *boltChange {
	v.of.mu.RLock()
	defer v.of.mu.RUnlock()
	c := v.changes[string(key)]
	if c == nil {
		c = v.moved[string(key)]
	}
	return c
}

// sorted returns all changes in the order of their keys, in which the database
// takes them best.
func (r *boltRecent) sorted() []*boltChange {
	r.mu.RLock()
	all := slices.Collect(maps.Values(r.changes))
	r.mu.RUnlock()
	slices.SortFunc(all, func(a, b *boltChange) int { return bytes.Compare(a.key, b.key) })
	return all
}

func (r *boltRecent) length() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.changes)
}

// move says that the database has all changes. Views keep them.
func (r *boltRecent) move() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved, r.changes, r.indexed = r.changes, nil, nil
}

// clear forgets everything.
func (r *boltRecent) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved, r.changes, r.indexed = nil, nil, nil
}
