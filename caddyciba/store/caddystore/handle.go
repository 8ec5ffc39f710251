package caddystore

import (
	"context"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// pool holds each store that somebody uses. A new config is provisioned before
// the old one is cleaned up, so a store that both use stays open.
var pool = caddy.NewUsagePool()

// Handle is one reference to a store that others may use too. It is a
// [store.Store]; the store behind it is opened on first use. A handle is safe
// for concurrent use. After Release its methods return [store.ErrClosed].
type Handle struct {
	shared   *shared
	released atomic.Bool
}

// Acquire takes a reference to the engine's store. It opens nothing and touches
// nothing, so that it can be called in Provision, which Caddy also runs only
// to validate a config. Call Ping in an app's Start to learn early whether the
// store can be opened.
func Acquire(_ caddy.Context, engine Engine) (*Handle, error) {
	return acquire(engine)
}

func acquire(engine Engine) (*Handle, error) {
	value, _, err := pool.LoadOrNew(engine.Key(), func() (caddy.Destructor, error) {
		return newShared(engine), nil
	})
	if err != nil {
		return nil, err
	}
	return &Handle{shared: value.(*shared)}, nil
}

// Retain takes one more reference, which is released by itself. It may be
// called on a handle that was released, as can happen to a request that begins
// just when a reload ends.
func (h *Handle) Retain() *Handle {
	// The constructor cannot fail, so acquire does not.
	retained, _ := acquire(h.shared.engine)
	return retained
}

// Release gives the reference back; the last one closes the store. Releasing a
// handle again does nothing.
func (h *Handle) Release() error {
	if h.released.Swap(true) {
		return nil
	}
	_, err := pool.Delete(h.shared.engine.Key())
	return err
}

// Close is Release, for callers that know the handle as a [store.Store].
func (h *Handle) Close() error { return h.Release() }

func (h *Handle) open(ctx context.Context) (store.Store, error) {
	if h.released.Load() {
		return nil, store.ErrClosed
	}
	return h.shared.open(ctx)
}

// Create implements [store.Store].
func (h *Handle) Create(ctx context.Context, r *store.Record) error {
	s, err := h.open(ctx)
	if err != nil {
		return err
	}
	return s.Create(ctx, r)
}

// Get implements [store.Store].
func (h *Handle) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	s, err := h.open(ctx)
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, kind, id)
}

// Update implements [store.Store].
func (h *Handle) Update(ctx context.Context, r *store.Record) error {
	s, err := h.open(ctx)
	if err != nil {
		return err
	}
	return s.Update(ctx, r)
}

// Delete implements [store.Store].
func (h *Handle) Delete(ctx context.Context, kind, id string, version uint64) error {
	s, err := h.open(ctx)
	if err != nil {
		return err
	}
	return s.Delete(ctx, kind, id, version)
}

// List implements [store.Store].
func (h *Handle) List(ctx context.Context, kind string, index store.Index, after string, limit int) ([]*store.Record, error) {
	s, err := h.open(ctx)
	if err != nil {
		return nil, err
	}
	return s.List(ctx, kind, index, after, limit)
}

// Watch implements [store.Store]. It waits while the store is being opened. If
// the store cannot be opened, the channel receives one value, so that the
// receiver meets the error when it reads; it must then begin a new watch.
func (h *Handle) Watch(kind, id string) (<-chan struct{}, func()) {
	s, err := h.open(context.Background())
	if err != nil {
		return awake()
	}
	return s.Watch(kind, id)
}

// WatchIndex implements [store.Store], with the exception described at Watch.
func (h *Handle) WatchIndex(kind string, index store.Index) (<-chan struct{}, func()) {
	s, err := h.open(context.Background())
	if err != nil {
		return awake()
	}
	return s.WatchIndex(kind, index)
}

func awake() (<-chan struct{}, func()) {
	changes := make(chan struct{}, 1)
	changes <- struct{}{}
	return changes, func() {}
}

// Ping implements [store.Store]. It opens the store if nobody has yet.
func (h *Handle) Ping(ctx context.Context) error {
	s, err := h.open(ctx)
	if err != nil {
		return err
	}
	return s.Ping(ctx)
}

// Interface guard
var _ store.Store = (*Handle)(nil)
