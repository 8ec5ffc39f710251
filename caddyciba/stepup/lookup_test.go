package stepup

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// A store that is down answers no question.
type downStore struct {
	store.Store
	down atomic.Bool
}

func (s *downStore) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	if s.down.Load() {
		return nil, errors.New("store is down")
	}
	return s.Store.Get(ctx, kind, id)
}

// Who looks for a request that was sent, and finds the store down, is not told that
// nothing was sent: it would be repeated.
func TestLookUpWhileStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &downStore{Store: store.NewMemory(store.Options{})}
		defer shared.Close()
		b := newBench(t, answering(201, "booked"), func(cfg *Config) { cfg.Store = shared })
		auto(b)
		decide := b.undecided()
		location := b.start(t, "1")
		close(decide)
		synctest.Wait()
		shared.down.Store(true)
		for _, ask := range []string{"GET " + location, "DELETE " + location, "GET " + location + "/result"} {
			method, path, _ := strings.Cut(ask, " ")
			w := b.look(method, path, "", teller)
			if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "sent") ||
				!strings.Contains(w.Body.String(), `"forwarded":"unknown"`) {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
		shared.down.Store(false)
		if w := b.look("GET", location+"/result", "", teller); w.Code != 201 {
			t.Errorf("afterwards: %d", w.Code)
		}
	})
}
