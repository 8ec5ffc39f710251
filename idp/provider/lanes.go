package provider

import "sync"

// Bounds of what one node does at a time for the clients that it calls.
const (
	callsAtOnce    = 128 // over all clients
	callsPerClient = 4   // so that an endpoint that hangs delays nobody else's
	laneLength     = 100 // what waits for a client in memory; the rest does in the store
)

// lanes hand out the calls that are due, to each client in a lane of its own.
type lanes struct {
	call  func(*heldRequest)
	slots chan struct{}

	// more receives a value when a lane that had to leave something out is empty.
	more chan struct{}

	mu     sync.Mutex
	taken  map[string]bool // ids of requests that wait in a lane or are called about
	lanes  map[string]*lane
	worker sync.WaitGroup
}

// lane is what one client is to be called about, the first one first.
type lane struct {
	waiting []*heldRequest
	workers int
	leftOut bool
}

// newLanes returns lanes whose calls are made by call.
func newLanes(call func(*heldRequest)) *lanes {
	return &lanes{
		call: call, slots: make(chan struct{}, callsAtOnce), more: make(chan struct{}, 1),
		taken: make(map[string]bool), lanes: make(map[string]*lane),
	}
}

// add puts a request into the lane of its client, unless it is there or the lane is
// full. It does not wait.
func (l *lanes) add(h *heldRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken[h.id] {
		return
	}
	client := h.Client
	own := l.lanes[client]
	if own == nil {
		own = new(lane)
		l.lanes[client] = own
	}
	if len(own.waiting) == laneLength {
		own.leftOut = true
		return
	}
	l.taken[h.id] = true
	own.waiting = append(own.waiting, h)
	if own.workers < callsPerClient {
		own.workers++
		l.worker.Go(func() { l.work(client, own) })
	}
}

// work makes the calls of a lane, one after the other, until it is empty.
func (l *lanes) work(client string, own *lane) {
	for {
		h := l.next(client, own)
		if h == nil {
			return
		}
		l.slots <- struct{}{}
		l.call(h)
		<-l.slots
		l.mu.Lock()
		delete(l.taken, h.id)
		l.mu.Unlock()
	}
}

// next takes the first request out of a lane. If there is none the worker ends.
func (l *lanes) next(client string, own *lane) *heldRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(own.waiting) > 0 {
		h := own.waiting[0]
		own.waiting = own.waiting[1:]
		return h
	}
	own.workers--
	if own.workers == 0 {
		delete(l.lanes, client)
	}
	if own.leftOut {
		own.leftOut = false
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
	return nil
}

// wait waits until all lanes are empty.
func (l *lanes) wait() { l.worker.Wait() }
