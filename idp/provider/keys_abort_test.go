package provider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// slowKeys is a store in which reading keys can be made to take until a channel is
// closed.
type slowKeys struct {
	store.Store
	gate  atomic.Pointer[chan struct{}]
	asked chan struct{}
}

func (s *slowKeys) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	gate := s.gate.Load()
	if kind == "idp.keys" && gate != nil {
		s.asked <- struct{}{}
		select {
		case <-*gate:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.Store.Get(ctx, kind, id)
}

// Strangers who fetch the keys and hang up must not keep a provider
// from reading them, which would stop it from signing after three minutes.
func TestAbortedFetchesOfKeysDoNoHarm(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.Store = &slowKeys{Store: c.Store, asked: make(chan struct{}, 8)} })
	w.kids()
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for range 60 { // five minutes of it
		w.clock.advance(5 * time.Second)
		w.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(gone, http.MethodGet, issuer+"/jwks", nil))
	}
	w.tokens()
}

// While one asks the store, nobody else waits for it.
func TestKeysAtHandAreServedWhileTheyAreLoaded(t *testing.T) {
	var slow *slowKeys
	w := newWorld(t, func(c *provider.Config) {
		slow = &slowKeys{Store: c.Store, asked: make(chan struct{}, 8)}
		c.Store = slow
	})
	want := w.kids()[0]
	gate := make(chan struct{})
	slow.gate.Store(&gate)
	w.clock.advance(2 * time.Minute)
	first := make(chan int)
	go func() {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, issuer+"/jwks", nil))
		first <- rec.Code
	}()
	<-slow.asked
	if w.kids()[0] != want { // would wait for the gate
		t.Error("other keys")
	}
	select {
	case <-first:
		t.Error("the store was not asked")
	default:
	}
	slow.gate.Store(nil)
	close(gate)
	if code := <-first; code != http.StatusOK {
		t.Errorf("status %d", code)
	}
}
