package stepup

import (
	"context"
	"net/http/httptrace"
	"sync"
)

// lock keeps a kept request that comes back to its route from going anywhere but
// to its gate: with other routes than before, a handler that is no gate could
// send it to the upstream. Until the request has arrived, whoever would send it
// is stopped as a second attempt is; what handlers ahead of gates have to ask may
// pass. Its hooks are called from any goroutine.
type lock struct {
	guard *guard
	ahead func(hostPort string) bool

	mu   sync.Mutex
	open bool // the request has arrived
	pass bool // the connection that is asked for is for a handler ahead
}

// newLock returns a context in which nothing can be sent.
func newLock(ctx context.Context, ahead func(string) bool) (context.Context, *lock) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &lock{guard: &guard{cancel: cancel, sent: true}, ahead: ahead}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(hostPort string) {
			if l.closed(hostPort) {
				l.guard.getConn()
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			if l.stops() {
				l.guard.gotConn(info)
			}
		},
		ConnectStart: func(string, string) {
			if l.stops() {
				l.guard.connects()
			}
		},
	}), l
}

// closed reports whether nothing may go to an address now.
func (l *lock) closed(hostPort string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pass = l.ahead != nil && l.ahead(hostPort)
	return !l.open && !l.pass
}

func (l *lock) stops() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.open && !l.pass
}

// unlock lets the gate send the request, which has a guard of its own.
func (l *lock) unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = true
}
