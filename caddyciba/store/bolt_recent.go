package store

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// boltRecent holds the changes that are not in the database yet: for each record
// the last one. What it knows of a record is what counts. All of them but the
// relaxed ones are in the journal.
type boltRecent struct {
	mu sync.RWMutex

	// fresh are the changes since the last fold has begun, and moving are those
	// that are on their way into the database.
	fresh, moving generation

	// moved are the changes that have moved into the database last, by name. They
	// spare reading there what was written a moment ago.
	moved map[string]*boltChange
}

// generation is a set of changes, one for each record.
type generation struct {
	changes map[string]*boltChange            // by name
	indexed map[string]map[string]*boltChange // by key in the index bucket without id, then by id
	firm    int                               // how many of them are not relaxed
}

// add puts a change on top of what there is.
func (g *generation) add(c *boltChange) {
	before := g.changes[c.name]
	if before != nil && !before.relaxed {
		// The journal has a change that the database has not: one of the record
		// must move.
		c.relaxed = false
	}
	g.put(c)
}

func (g *generation) put(c *boltChange) {
	if g.changes == nil {
		g.changes = make(map[string]*boltChange)
		g.indexed = make(map[string]map[string]*boltChange)
	}
	before := g.changes[c.name]
	if before != nil {
		g.leave(before)
	}
	if !c.relaxed {
		g.firm++
	}
	g.changes[c.name] = c
	for _, x := range c.indexes() {
		prefix := string(appendIndexKey(nil, c.kind, x, ""))
		if g.indexed[prefix] == nil {
			g.indexed[prefix] = make(map[string]*boltChange)
		}
		g.indexed[prefix][c.id] = c
	}
}

func (g *generation) leave(c *boltChange) {
	if !c.relaxed {
		g.firm--
	}
	for _, x := range c.indexes() {
		prefix := string(appendIndexKey(nil, c.kind, x, ""))
		delete(g.indexed[prefix], c.id)
		if len(g.indexed[prefix]) == 0 {
			delete(g.indexed, prefix)
		}
	}
}

// add makes changes visible.
func (r *boltRecent) add(changes ...*boltChange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		r.fresh.add(c)
	}
}

// get returns the last change of a record, or nil if it is not at hand.
func (r *boltRecent) get(name string) *boltChange {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return firstOf(name, r.fresh.changes, r.moving.changes, r.moved)
}

// firstOf returns what the first of the maps that knows the record says of it.
func firstOf(name string, maps ...map[string]*boltChange) *boltChange {
	for _, m := range maps {
		c := m[name]
		if c != nil {
			return c
		}
	}
	return nil
}

// recentView is the recent changes as somebody sees them who begins to read the
// database after them. It keeps what moves into the database in the meantime, of
// which a transaction that has begun knows nothing.
type recentView struct {
	of                   *boltRecent
	fresh, moving, moved map[string]*boltChange
}

// listed returns the changes that carry an index entry, ordered by id, behind one
// of them, and a view of all others.
func (r *boltRecent) listed(prefix []byte, after string) ([]*boltChange, recentView) {
	r.mu.RLock()
	var found []*boltChange
	for id, c := range r.fresh.indexed[string(prefix)] {
		if id > after {
			found = append(found, c)
		}
	}
	for id, c := range r.moving.indexed[string(prefix)] {
		if id > after && r.fresh.changes[c.name] == nil {
			found = append(found, c)
		}
	}
	view := recentView{of: r, fresh: r.fresh.changes, moving: r.moving.changes, moved: r.moved}
	r.mu.RUnlock()
	slices.SortFunc(found, func(a, b *boltChange) int { return strings.Compare(a.id, b.id) })
	return found, view
}

// get returns the last change of a record, or nil if it is not at hand.
func (v recentView) get(name string) *boltChange {
	v.of.mu.RLock()
	defer v.of.mu.RUnlock()
	return firstOf(name, v.fresh, v.moving, v.moved)
}

// firm returns how many changes the journal has and the database has not.
func (r *boltRecent) firm() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.fresh.firm
}

// beginMove takes the changes that shall move into the database, in the order of
// their keys, in which the database takes them best. Relaxed changes that expire
// before the given time stay where they are: most of them never cost the disk
// anything. Left out is what the database need not know of: a record that is gone
// and that inDatabase has never heard of. It ends with endMove or abortMove.
func (r *boltRecent) beginMove(now, stay time.Time, inDatabase func(name string) bool) []*boltChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.fresh.changes
	r.fresh, r.moving = generation{}, generation{}
	due := make([]*boltChange, 0, len(all))
	for _, c := range all {
		switch {
		case c.gone(now) && !inDatabase(c.name):
		case c.relaxed && !c.gone(now) && c.gone(stay):
			r.fresh.put(c)
		default:
			r.moving.put(c)
			due = append(due, c)
		}
	}
	slices.SortFunc(due, func(a, b *boltChange) int { return strings.Compare(a.name, b.name) })
	return due
}

// endMove says that the database has the changes. Views keep them.
func (r *boltRecent) endMove(keep bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved, r.moving = r.moving.changes, generation{}
	if !keep {
		r.moved = nil
	}
}

// abortMove says that the database does not have the changes.
func (r *boltRecent) abortMove() {
	r.mu.Lock()
	defer r.mu.Unlock()
	newer := r.fresh.changes
	r.fresh, r.moving = r.moving, generation{}
	for _, c := range newer {
		r.fresh.add(c)
	}
}

// clear forgets everything.
func (r *boltRecent) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh, r.moving, r.moved = generation{}, generation{}, nil
}
