package store

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"
)

// sweepPerWrite is how many expired records a write removes at most. It is
// more than one, so that writes remove faster than they add.
const sweepPerWrite = 4

// Options configure a memory store. The zero value is ready for use.
type Options struct {
	// Now is the clock by which records expire. Default: time.Now.
	Now func() time.Time
}

// Memory is a store in the memory of its process: for tests, for trying things
// out, and for what need not outlive the process. Expired records are removed
// little by little by later writes; it runs no goroutine.
type Memory struct {
	now     func() time.Time
	watches watches

	mu      sync.RWMutex
	closed  bool
	records map[recordKey]*memoryRecord
	indexes map[watchKey]*memoryIndex
	expiry  expiryHeap
}

type recordKey struct{ kind, id string }

// memoryRecord is a stored record. Its data and indexes are replaced and never
// changed, so that readers copy them after they let go of the lock.
type memoryRecord struct {
	key     recordKey
	version uint64
	data    []byte
	indexes []Index
	expires int64
	place   int // in the expiry heap; -1 outside
}

// NewMemory returns an empty store.
func NewMemory(o Options) *Memory {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Memory{
		now:     o.Now,
		records: make(map[recordKey]*memoryRecord),
		indexes: make(map[watchKey]*memoryIndex),
	}
}

// Create implements [Store].
func (m *Memory) Create(ctx context.Context, r *Record) error {
	err := checkRecord(r)
	if err != nil {
		return err
	}
	err = live(ctx)
	if err != nil {
		return err
	}
	key := recordKey{r.Kind, r.ID}
	// Once it is stored, the next Update may replace the record's indexes.
	indexes := uniqueIndexes(r.Indexes)
	stored := &memoryRecord{
		key:     key,
		version: 1,
		data:    cloneData(r.Data),
		indexes: indexes,
		expires: toMillis(r.Expires),
		place:   -1,
	}
	before, err := m.create(stored)
	if err != nil {
		return err
	}
	r.Version = 1
	m.watches.changed(r.Kind, r.ID, before, indexes)
	return nil
}

func (m *Memory) create(stored *memoryRecord) (before []Index, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	now := m.now()
	m.sweep(now)
	old, found := m.records[stored.key]
	if found {
		if !expired(old.expires, now) {
			return nil, ErrExists
		}
		m.remove(old)
		before = old.indexes
	}
	m.records[stored.key] = stored
	for _, x := range stored.indexes {
		m.enter(stored, x)
	}
	if stored.expires != 0 {
		heap.Push(&m.expiry, stored)
	}
	return before, nil
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, kind, id string) (*Record, error) {
	err := checkKey(kind, id)
	if err != nil {
		return nil, err
	}
	err = live(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.RLock()
	if m.closed {
		m.mu.RUnlock()
		return nil, ErrClosed
	}
	stored, found := m.records[recordKey{kind, id}]
	if !found || expired(stored.expires, m.now()) {
		m.mu.RUnlock()
		return nil, ErrNotFound
	}
	copied := *stored
	m.mu.RUnlock()
	return copied.record(), nil
}

// Update implements [Store].
func (m *Memory) Update(ctx context.Context, r *Record) error {
	err := checkRecord(r)
	if err != nil {
		return err
	}
	err = live(ctx)
	if err != nil {
		return err
	}
	next := memoryRecord{
		key:     recordKey{r.Kind, r.ID},
		version: r.Version + 1,
		data:    cloneData(r.Data),
		indexes: uniqueIndexes(r.Indexes),
		expires: toMillis(r.Expires),
	}
	before, err := m.update(&next)
	if err != nil {
		return err
	}
	r.Version = next.version
	m.watches.changed(r.Kind, r.ID, before, next.indexes)
	return nil
}

func (m *Memory) update(next *memoryRecord) (before []Index, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	now := m.now()
	m.sweep(now)
	stored, found := m.records[next.key]
	if !found || expired(stored.expires, now) {
		return nil, ErrNotFound
	}
	if stored.version != next.version-1 {
		return nil, ErrConflict
	}
	before = stored.indexes
	for _, x := range before {
		if !slices.Contains(next.indexes, x) {
			m.leave(stored, x)
		}
	}
	for _, x := range next.indexes {
		if !slices.Contains(before, x) {
			m.enter(stored, x)
		}
	}
	stored.version, stored.data, stored.indexes = next.version, next.data, next.indexes
	m.reschedule(stored, next.expires)
	return before, nil
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, kind, id string, version uint64) error {
	err := checkKey(kind, id)
	if err != nil {
		return err
	}
	err = live(ctx)
	if err != nil {
		return err
	}
	before, err := m.delete(recordKey{kind, id}, version)
	if err != nil {
		return err
	}
	m.watches.changed(kind, id, before, nil)
	return nil
}

func (m *Memory) delete(key recordKey, version uint64) (before []Index, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	now := m.now()
	m.sweep(now)
	stored, found := m.records[key]
	if !found || expired(stored.expires, now) {
		return nil, ErrNotFound
	}
	if version != 0 && stored.version != version {
		return nil, ErrConflict
	}
	m.remove(stored)
	return stored.indexes, nil
}

// List implements [Store].
func (m *Memory) List(ctx context.Context, kind string, index Index, after string, limit int) ([]*Record, error) {
	err := checkList(kind, index, after, limit)
	if err != nil {
		return nil, err
	}
	err = live(ctx)
	if err != nil {
		return nil, err
	}
	found, err := m.find(indexWatch(kind, index), after, limit)
	if err != nil {
		return nil, err
	}
	records := make([]*Record, len(found))
	for i := range found {
		records[i] = found[i].record()
	}
	return records, nil
}

func (m *Memory) find(key watchKey, after string, limit int) ([]memoryRecord, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	now := m.now()
	index, found := m.indexes[key]
	if !found {
		return nil, nil
	}
	var page []memoryRecord
	index.after(after, func(stored *memoryRecord) bool {
		if !expired(stored.expires, now) {
			page = append(page, *stored)
		}
		return len(page) < limit
	})
	return page, nil
}

// Watch implements [Store].
func (m *Memory) Watch(kind, id string) (<-chan struct{}, func()) {
	return m.watches.add(recordWatch(kind, id))
}

// WatchIndex implements [Store].
func (m *Memory) WatchIndex(kind string, index Index) (<-chan struct{}, func()) {
	return m.watches.add(indexWatch(kind, index))
}

// Ping implements [Store].
func (m *Memory) Ping(ctx context.Context) error {
	err := live(ctx)
	if err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrClosed
	}
	return nil
}

// Close implements [Store]. The records are gone with it.
func (m *Memory) Close() error {
	m.mu.Lock()
	m.closed = true
	m.records, m.indexes, m.expiry = nil, nil, nil
	m.mu.Unlock()
	m.watches.close()
	return nil
}

func (s *memoryRecord) record() *Record {
	return &Record{
		Kind:    s.key.kind,
		ID:      s.key.id,
		Version: s.version,
		Data:    cloneData(s.data),
		Indexes: slices.Clone(s.indexes),
		Expires: fromMillis(s.expires),
	}
}

// The methods below need the lock to be held for writing.

// remove takes the record out of the store and of everything that refers to it.
func (m *Memory) remove(stored *memoryRecord) {
	delete(m.records, stored.key)
	for _, x := range stored.indexes {
		m.leave(stored, x)
	}
	m.reschedule(stored, 0)
}

func (m *Memory) enter(stored *memoryRecord, x Index) {
	key := indexWatch(stored.key.kind, x)
	index, found := m.indexes[key]
	if !found {
		index = new(memoryIndex)
		m.indexes[key] = index
	}
	index.add(stored)
}

func (m *Memory) leave(stored *memoryRecord, x Index) {
	key := indexWatch(stored.key.kind, x)
	index, found := m.indexes[key]
	if found && index.remove(stored.key.id) {
		delete(m.indexes, key)
	}
}

// reschedule sets the expiry and the record's place in the heap; 0 takes it
// out.
func (m *Memory) reschedule(stored *memoryRecord, expires int64) {
	if stored.expires == expires {
		return
	}
	stored.expires = expires
	switch {
	case expires == 0:
		heap.Remove(&m.expiry, stored.place)
	case stored.place < 0:
		heap.Push(&m.expiry, stored)
	default:
		heap.Fix(&m.expiry, stored.place)
	}
}

// sweep removes a few expired records.
func (m *Memory) sweep(now time.Time) {
	for range sweepPerWrite {
		if len(m.expiry) == 0 || !expired(m.expiry[0].expires, now) {
			return
		}
		m.remove(m.expiry[0])
	}
}

var _ Store = (*Memory)(nil)
