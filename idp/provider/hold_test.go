package provider_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// hangUp is a store by which the client leaves as soon as its request is written,
// and which may refuse to remove it.
type hangUp struct {
	store.Store
	leave  func()
	broken bool
	id     string
}

func (s *hangUp) Create(ctx context.Context, r *store.Record) error {
	err := s.Store.Create(ctx, r)
	if err == nil && r.Kind == "idp.request" {
		s.id = r.ID
		s.leave()
	}
	return err
}

func (s *hangUp) List(ctx context.Context, kind string, index store.Index, after string, limit int) ([]*store.Record, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.Store.List(ctx, kind, index, after, limit)
}

func (s *hangUp) Delete(ctx context.Context, kind, id string, version uint64) error {
	if s.broken {
		return errors.New("disk is full")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.Store.Delete(ctx, kind, id, version)
}

// A client that hangs up in the middle does not leave a prompt without a client.
func TestAbortedStartLeavesNoPrompt(t *testing.T) {
	for name, broken := range map[string]bool{"removed": false, "cancelled": true} {
		t.Run(name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			s := &hangUp{leave: leave, broken: broken}
			told := make(chan string, 1)
			w := newWorld(t, func(c *provider.Config) {
				s.Store = c.Store
				c.Store = s
				c.Notify = func(_ context.Context, r *provider.Request) { told <- r.ID }
			})
			r := postRequest("/backchannel-authentication", form("scope", "openid", "login_hint", "alice").Encode())
			r.SetBasicAuth("gateway", url.QueryEscape(secret1))
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r.WithContext(ctx))
			pending, err := w.Pending(t.Context(), "sub-alice")
			if err != nil || len(pending) != 0 || rec.Code != 499 {
				t.Errorf("status %d, pending %v, %v", rec.Code, pending, err)
			}
			if s.id == "" {
				t.Fatal("the request was never written")
			}
			request, err := w.Request(t.Context(), "sub-alice", s.id)
			if broken && (err != nil || request.State != provider.StateCancelled) {
				t.Errorf("%+v, %v", request, err)
			}
			if !broken && !errors.Is(err, provider.ErrNotFound) {
				t.Errorf("%+v, %v", request, err)
			}
			w.Provider.Close()
			if len(told) != 0 {
				t.Error("the user was told")
			}
		})
	}
}
