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
	changes map[string]*boltChange     // by name
	indexed map[indexKey]*indexedPlace // the first of those with the index entry
	firm    int                        // how many of them are not relaxed
}

// indexKey is an index entry of records of a kind.
type indexKey struct {
	kind  string
	entry Index
}

// indexedPlace is the place of a change among those of a generation that carry the
// same index entry. They hang together in no order: most entries have one change or
// two, and to add and to remove one costs the same however many there are.
type indexedPlace struct {
	of         *boltChange
	prev, next *indexedPlace
}

func newGeneration(size int) generation {
	return generation{changes: make(map[string]*boltChange, size), indexed: make(map[indexKey]*indexedPlace)}
}

// add puts a change on top of what there is.
func (g *generation) add(c *boltChange) {
	before := g.changes[c.name]
	if before != nil && !before.relaxed {
		// The journal has a change that the database has not: one of the record
		// must move.
		c.relaxed = false
	}
	if before != nil {
		g.leave(before)
	}
	g.put(c)
}

// put adds a change of a record that has none.
func (g *generation) put(c *boltChange) {
	if g.changes == nil {
		*g = newGeneration(0)
	}
	if !c.relaxed {
		g.firm++
	}
	g.changes[c.name] = c
	if len(c.places) == 0 && len(c.indexes()) > 0 {
		c.places = make([]indexedPlace, len(c.indexes()))
	}
	for i, x := range c.indexes() {
		key := indexKey{c.kind, x}
		first := g.indexed[key]
		c.places[i] = indexedPlace{of: c, next: first}
		if first != nil {
			first.prev = &c.places[i]
		}
		g.indexed[key] = &c.places[i]
	}
}

// remove takes a change out.
func (g *generation) remove(c *boltChange) {
	g.leave(c)
	delete(g.changes, c.name)
}

// leave takes a change out of all but the changes by name.
func (g *generation) leave(c *boltChange) {
	if !c.relaxed {
		g.firm--
	}
	for i, x := range c.indexes() {
		place := &c.places[i]
		if place.next != nil {
			place.next.prev = place.prev
		}
		switch {
		case place.prev != nil:
			place.prev.next = place.next
		case place.next != nil:
			g.indexed[indexKey{c.kind, x}] = place.next
		default:
			delete(g.indexed, indexKey{c.kind, x})
		}
		*place = indexedPlace{}
	}
}

// with returns the changes that carry an index entry and have an id behind the given
// one.
func (g *generation) with(key indexKey, after string) []*boltChange {
	var found []*boltChange
	for place := g.indexed[key]; place != nil; place = place.next {
		if place.of.id > after {
			found = append(found, place.of)
		}
	}
	return found
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
func (r *boltRecent) get(name []byte) *boltChange {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return firstOf(name, r.fresh.changes, r.moving.changes, r.moved)
}

// firstOf returns what the first of three maps that knows the record says of it.
func firstOf(name []byte, a, b, c map[string]*boltChange) *boltChange {
	found := a[string(name)]
	if found == nil {
		found = b[string(name)]
	}
	if found == nil {
		found = c[string(name)]
	}
	return found
}

// recentView is the recent changes as somebody sees them who begins to read the
// database after them. It keeps what moves into the database in the meantime, of
// which a transaction that has begun knows nothing, and knows what is newer.
type recentView struct {
	of                   *boltRecent
	fresh, moving, moved map[string]*boltChange
}

// listed returns the changes that carry an index entry, ordered by id, behind one
// of them, and a view of all others.
func (r *boltRecent) listed(key indexKey, after string) ([]*boltChange, recentView) {
	r.mu.RLock()
	found := r.fresh.with(key, after)
	for _, c := range r.moving.with(key, after) {
		if r.fresh.changes[c.name] == nil {
			found = append(found, c)
		}
	}
	view := recentView{of: r, fresh: r.fresh.changes, moving: r.moving.changes, moved: r.moved}
	r.mu.RUnlock()
	slices.SortFunc(found, func(a, b *boltChange) int { return strings.Compare(a.id, b.id) })
	return found, view
}

// get returns the last change of a record, or nil if it is not at hand.
func (v recentView) get(name []byte) *boltChange {
	v.of.mu.RLock()
	defer v.of.mu.RUnlock()
	c := v.of.fresh.changes[string(name)]
	if c == nil {
		c = firstOf(name, v.fresh, v.moving, v.moved)
	}
	return c
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
	r.moving = r.fresh
	r.fresh = newGeneration(len(r.moving.changes))
	due := make([]*boltChange, 0, len(r.moving.changes))
	for _, c := range r.moving.changes {
		switch {
		case c.gone(now) && !inDatabase(c.name):
			r.moving.remove(c)
		case c.relaxed && !c.gone(now) && c.gone(stay):
			r.moving.remove(c)
			r.fresh.put(c)
		default:
			due = append(due, c)
		}
	}
	slices.SortFunc(due, func(a, b *boltChange) int { return strings.Compare(a.name, b.name) })
	return due
}

// tidy forgets relaxed changes that are gone and that inDatabase has never heard of,
// and returns those that do not expire before the given time.
func (r *boltRecent) tidy(now, stay time.Time, inDatabase func(name string) bool) []*boltChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lasting []*boltChange
	for _, c := range r.fresh.changes {
		switch {
		case !c.relaxed:
		case c.gone(now) && !inDatabase(c.name):
			r.fresh.remove(c)
		case !c.gone(stay):
			lasting = append(lasting, c)
		}
	}
	return lasting
}

// journaled says that the journal has changes that were relaxed: of each of these
// records the last change must move.
func (r *boltRecent) journaled(changes []*boltChange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		last := r.fresh.changes[c.name]
		if last != nil && last.relaxed {
			last.relaxed = false
			r.fresh.firm++
		}
	}
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
