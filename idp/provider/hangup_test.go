package provider_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// goneStore cancels a request when it is asked for something.
type goneStore struct {
	store.Store
	cancel context.CancelFunc
	fail   bool
}

func (s *goneStore) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	if s.cancel == nil {
		return s.Store.Get(ctx, kind, id)
	}
	s.cancel()
	if s.fail {
		return nil, errBroken
	}
	return nil, ctx.Err()
}

// A client that hangs up, on a poll that is held or anywhere else, is no fault of the
// server. A store that is down is one also then.
func TestHangUps(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	gone := &goneStore{}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *provider.Config) {
			gone.Store = c.Store
			c.Store = gone
			c.Logger = zap.New(core)
			c.Clients[0].LongPoll = true
		})
		authReqID, _ := w.start()
		send := func(fail, inStore bool) int {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := postRequest("/token", form("grant_type", provider.GrantCIBA, "auth_req_id", authReqID).Encode())
			r.SetBasicAuth("gateway", secret1)
			rec := httptest.NewRecorder()
			gone.fail, gone.cancel = fail, nil
			if inStore {
				gone.cancel = cancel
			} else {
				time.AfterFunc(time.Second, cancel)
			}
			w.ServeHTTP(rec, r.WithContext(ctx))
			gone.cancel = nil
			return rec.Code
		}
		for _, inStore := range []bool{false, true} {
			logs.TakeAll()
			status := send(false, inStore)
			if status != 499 || logs.FilterLevelExact(zapcore.ErrorLevel).Len() != 0 || logs.FilterMessage("the client has gone before its answer").Len() != 1 {
				t.Errorf("in the store %t: %d %v", inStore, status, logs.All())
			}
		}
		logs.TakeAll()
		status := send(true, true)
		if status != 503 || logs.FilterLevelExact(zapcore.ErrorLevel).Len() != 1 {
			t.Errorf("a store that is down: %d %v", status, logs.All())
		}
	})
}
