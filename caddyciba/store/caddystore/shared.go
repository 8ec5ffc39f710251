package caddystore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// openTimeout bounds one attempt to open a store.
	openTimeout = 15 * time.Second

	// retryDelay is how long a failure to open stands before the next use
	// tries again, so that a store that is down is not hammered by each
	// request.
	retryDelay = time.Second
)

// shared is a store in the pool, open or not.
type shared struct {
	engine Engine
	opened atomic.Pointer[store.Store]

	mu      sync.Mutex
	attempt *attempt
	closed  bool
}

// attempt is one try to open the store. Everybody who needs the store
// meanwhile waits for it.
type attempt struct {
	cancel context.CancelFunc
	done   chan struct{} // closed at the end, when the rest is set
	store  store.Store
	err    error
	ended  time.Time
}

func newShared(engine Engine) *shared { return &shared{engine: engine} }

// open returns the store, and opens it if it is not. The attempt to open it
// belongs to all who wait, so it does not end with the context of the first.
func (s *shared) open(ctx context.Context) (store.Store, error) {
	opened := s.opened.Load()
	if opened != nil {
		return *opened, nil
	}
	a, err := s.try(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-a.done:
		return a.store, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the store to open: %w", ctx.Err())
	}
}

// try returns the attempt to wait for, and begins one if need be.
func (s *shared) try(ctx context.Context) (*attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	if s.attempt != nil && !s.attempt.stale() {
		return s.attempt, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
	s.attempt = &attempt{cancel: cancel, done: make(chan struct{})}
	go s.run(ctx, s.attempt)
	return s.attempt, nil
}

// stale reports whether the attempt has failed long enough ago.
func (a *attempt) stale() bool {
	select {
	case <-a.done:
		return a.err != nil && time.Since(a.ended) >= retryDelay
	default:
		return false
	}
}

func (s *shared) run(ctx context.Context, a *attempt) {
	defer a.cancel()
	a.store, a.err = s.engine.Open(ctx)
	a.ended = time.Now()
	if a.err == nil {
		s.opened.Store(&a.store)
	}
	close(a.done)
}

// Destruct implements caddy.Destructor. It closes the store, and waits for an
// attempt to open it so that none is left open behind.
func (s *shared) Destruct() error {
	s.mu.Lock()
	s.closed = true
	a := s.attempt
	s.mu.Unlock()
	if a == nil {
		return nil
	}
	a.cancel()
	<-a.done
	if a.err != nil {
		return nil // never was open, as its users have been told
	}
	return a.store.Close()
}

// Interface guard
var _ caddy.Destructor = (*shared)(nil)
