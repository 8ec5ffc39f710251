package store

import (
	"sync"
	"sync/atomic"
)

// watchKey names what is watched: a record when index is empty, otherwise all
// records of the kind that carry the index entry. An index name is never
// empty, so the two cannot meet.
type watchKey struct {
	kind  string
	index string
	value string // the record's id, or the index value
}

func recordWatch(kind, id string) watchKey { return watchKey{kind: kind, value: id} }

func indexWatch(kind string, x Index) watchKey {
	return watchKey{kind: kind, index: x.Name, value: x.Value}
}

// watch is one subscription. Its channel holds one value at most: a value that
// waits there already tells the receiver all that a second one would.
type watch struct {
	changes chan struct{}
}

func (w *watch) wake() {
	select {
	case w.changes <- struct{}{}:
	default:
	}
}

// watches is the register of subscriptions that all engines share. It costs no
// goroutine, and nothing but one atomic read per change while nobody watches.
// The zero value is ready for use.
type watches struct {
	count  atomic.Int64
	mu     sync.RWMutex
	byKey  map[watchKey][]*watch
	closed bool
}

// add subscribes to key. In a closed register the channel is already awake, so
// that a receiver reads the record and meets ErrClosed.
func (ws *watches) add(key watchKey) (<-chan struct{}, func()) {
	w := &watch{changes: make(chan struct{}, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		w.wake()
		return w.changes, func() {}
	}
	if ws.byKey == nil {
		ws.byKey = make(map[watchKey][]*watch)
	}
	ws.byKey[key] = append(ws.byKey[key], w)
	ws.count.Add(1)
	return w.changes, sync.OnceFunc(func() { ws.remove(key, w) })
}

func (ws *watches) remove(key watchKey, w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	list := ws.byKey[key]
	for i, other := range list {
		if other != w {
			continue
		}
		last := len(list) - 1
		list[i] = list[last]
		list[last] = nil
		if last == 0 {
			delete(ws.byKey, key)
		} else {
			ws.byKey[key] = list[:last]
		}
		ws.count.Add(-1)
		return
	}
}

// changed wakes who watches the record or an index entry that it carried
// before or carries after the change. Call it after the change can be read.
func (ws *watches) changed(kind, id string, before, after []Index) {
	// A subscriber that adds itself after this read reads the record after
	// that, and finds the change.
	if ws.count.Load() == 0 {
		return
	}
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	ws.wake(recordWatch(kind, id))
	for _, x := range before {
		ws.wake(indexWatch(kind, x))
	}
	for _, x := range after {
		ws.wake(indexWatch(kind, x))
	}
}

// wakeKey wakes who watches one key.
func (ws *watches) wakeKey(key watchKey) {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	ws.wake(key)
}

// wake needs the lock to be held for reading.
func (ws *watches) wake(key watchKey) {
	for _, w := range ws.byKey[key] {
		w.wake()
	}
}

// wakeAll wakes everybody, for when changes may have gone unseen.
func (ws *watches) wakeAll() {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	for _, list := range ws.byKey {
		for _, w := range list {
			w.wake()
		}
	}
}

// close wakes everybody for the last time and takes no subscriptions any more.
func (ws *watches) close() {
	ws.mu.Lock()
	ws.closed = true
	ws.mu.Unlock()
	ws.wakeAll()
}
