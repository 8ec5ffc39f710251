package caddyciba

import (
	"sync"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// listeners are the requests of this process that wait for a ping, of all gates whose
// store serves this process alone: no other process can get the ping then, and it
// need not go by the store.
var listeners = &pingListeners{byToken: make(map[ciba.NotificationHash]*pingListener)}

// pingListeners is a register of waits by the hash of the notification token. It is
// safe for concurrent use.
type pingListeners struct {
	mu      sync.RWMutex
	byToken map[ciba.NotificationHash]*pingListener
}

// pingListener is one wait.
type pingListener struct {
	client  string                // as inbox.client
	request ciba.NotificationHash // of the auth_req_id
	wake    chan struct{}         // holds a value when there was a ping
}

// add begins to listen. The function that it returns ends that.
func (l *pingListeners) add(client string, token, request ciba.NotificationHash) (<-chan struct{}, func()) {
	one := &pingListener{client: client, request: request, wake: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byToken[token] = one
	return one.wake, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.byToken[token] == one {
			delete(l.byToken, token)
		}
	}
}

// find returns who listens for a client's token, or nil.
func (l *pingListeners) find(client string, token ciba.NotificationHash) *pingListener {
	l.mu.RLock()
	defer l.mu.RUnlock()
	one := l.byToken[token]
	if one == nil || one.client != client {
		return nil
	}
	return one
}

// ping wakes who listens for a client's token, and reports whether there is anybody.
func (l *pingListeners) ping(client string, token ciba.NotificationHash) bool {
	one := l.find(client, token)
	if one == nil {
		return false
	}
	select {
	case one.wake <- struct{}{}:
	default: // it has not yet heard of the last one
	}
	return true
}
