package provider_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// A store that answers for everything but keys.
type keylessStore struct {
	store.Store
	down atomic.Bool
}

func (s *keylessStore) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	if s.down.Load() && kind == "idp.keys" {
		return nil, errBroken
	}
	return s.Store.Get(ctx, kind, id)
}

// Threats T19: a node that can't see the keys any more goes on for a while, then signs
// nothing, uses nothing up, and recovers by itself.
func TestSigningNeedsThePlan(t *testing.T) {
	s := &keylessStore{}
	w := newWorld(t, func(c *provider.Config) {
		s.Store = c.Store
		c.Store = s
	})
	kid := w.kids()[0]
	s.down.Store(true)
	w.clock.advance(2 * time.Minute)
	w.tokens()
	authReqID, id := w.start()
	w.mustApprove(id)
	w.clock.advance(2 * time.Minute)
	w.poll("gateway", authReqID).want(t, 503, "temporarily_unavailable")
	if w.kids()[0] != kid {
		t.Error("keys at hand are not published")
	}
	s.down.Store(false)
	w.clock.advance(5 * time.Second)
	w.poll("gateway", authReqID).want(t, 200, "")
}

func TestKeyRotationConfig(t *testing.T) {
	base := newWorld(t, nil).cfg
	for want, change := range map[string]func(*provider.Config){
		"every 1h to":               func(c *provider.Config) { c.KeyRotation = time.Minute },
		"or never":                  func(c *provider.Config) { c.KeyRotation = 400 * 24 * time.Hour },
		"more often than tokens":    func(c *provider.Config) { c.KeyRotation, c.IDTokenLifetime = 2*time.Hour, 3*time.Hour },
		"more often than tokens ex": func(c *provider.Config) { c.AccessTokenLifetime = 31 * 24 * time.Hour },
	} {
		cfg := base
		change(&cfg)
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	base.KeyRotation, base.AccessTokenLifetime = -1, 31*24*time.Hour
	_, err := provider.New(base)
	if err != nil {
		t.Errorf("never rotating: %v", err)
	}
}
