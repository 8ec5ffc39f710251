package provider_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// pollers is how many polls come at the same time.
const pollers = 64

// rounds is how often a race is run: fewer times where time is short.
func rounds(full int) int {
	if testing.Short() {
		return max(full/20, 5)
	}
	return full
}

// campaign is how long a race is run over and over at the most: what machines do in
// seconds can take one that is overloaded, under the race detector, a quarter of an hour.
const campaign = 2 * time.Minute

// onEngines runs a test on each engine that is at hand everywhere, with limits that
// are not in the way.
func onEngines(t *testing.T, run func(t *testing.T, w *world)) {
	unlimited := func(c *provider.Config) { c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 1<<20, 1<<20 }
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		run(t, newWorld(t, unlimited))
	})
	t.Run("bolt", func(t *testing.T) {
		t.Parallel() // which leaves the processor to the other while it waits for the disk
		run(t, newWorld(t, func(c *provider.Config) {
			unlimited(c)
			bolt, err := store.OpenBolt(filepath.Join(t.TempDir(), "idp.db"), store.BoltOptions{Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			c.Store = bolt
		}))
	})
}

// together calls all functions at the same time and waits for them.
func together(calls ...func()) {
	var wg sync.WaitGroup
	barrier := make(chan struct{})
	for _, call := range calls {
		wg.Go(func() {
			<-barrier
			call()
		})
	}
	close(barrier)
	wg.Wait()
}

// raceStart starts a request for alice. Unlike start it may be called concurrently, and
// it asks for little. If the store has not written it in time, which it may take on a
// machine that is overloaded, it is started again, as clients do.
func (w *world) raceStart() (authReqID, id string) {
	a := w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice")
	for tries := 1; a.status == http.StatusServiceUnavailable && tries < 10; tries++ {
		a = w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice")
	}
	authReqID = a.str("auth_req_id")
	if a.status != 200 {
		w.t.Errorf("start: %d %s", a.status, a.raw)
	}
	return authReqID, hashOf(authReqID)
}

// raceApprove approves what raceStart has started.
func (w *world) raceApprove(id string) error {
	approval := w.approval(id)
	approval.Scopes = []string{"openid"}
	return w.Approve(context.Background(), approval)
}

// rawPoll polls at little cost. It returns the status, the error code, which is "" with
// tokens, and the body.
func (w *world) rawPoll(clientID, secret, authReqID string) (int, string, string) {
	body := "grant_type=" + provider.GrantCIBA + "&auth_req_id=" + authReqID
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/token"}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, RemoteAddr: "192.0.2.1:1234",
	}
	r.SetBasicAuth(clientID, secret)
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	answer := rec.Body.String()
	_, rest, _ := strings.Cut(answer, `"error":"`)
	code, _, _ := strings.Cut(rest, `"`)
	return rec.Code, code, answer
}

// Threats INV-3, F7, T10; CIBA checklist T7: of 64 polls of an approved request at two
// nodes exactly one gets tokens. Some rounds run side by side, as requests do, and
// share the commits of the store.
func TestRedemptionRace(t *testing.T) {
	const lanes = 8
	onEngines(t, func(t *testing.T, w *world) {
		nodes := []*world{w, w.secondNode()}
		begin := time.Now()
		var ran atomic.Int64
		var wg sync.WaitGroup
		for range lanes {
			wg.Go(func() {
				for range rounds(2000) / lanes {
					if ran.Load() >= 100 && time.Since(begin) > campaign {
						return
					}
					if !redemptionRound(nodes) {
						return
					}
					ran.Add(1)
				}
			})
		}
		wg.Wait()
		t.Logf("%d rounds", ran.Load())
	})
}

func redemptionRound(nodes []*world) bool {
	w := nodes[0]
	authReqID, id := w.raceStart()
	err := w.raceApprove(id)
	if err != nil {
		w.t.Errorf("approve: %v", err)
		return false
	}
	var codes [pollers]string
	var statuses [pollers]int
	calls := make([]func(), pollers)
	for i := range calls {
		calls[i] = func() { statuses[i], codes[i], _ = nodes[i%2].rawPoll("gateway", secret1, authReqID) }
	}
	together(calls...)
	won := 0
	for i, status := range statuses {
		switch {
		case status == http.StatusOK && codes[i] == "":
			won++
		case status != http.StatusBadRequest || codes[i] != "invalid_grant":
			w.t.Errorf("poll %d: %d %s", i, status, codes[i])
			return false
		}
	}
	if won != 1 {
		w.t.Errorf("%d polls got tokens", won)
	}
	return won == 1
}

// rendezvousStore lets readers of a request wait for each other, so that all of them
// have read the same state when the first one writes.
type rendezvousStore struct {
	store.Store

	mu      sync.Mutex
	id      string
	waiting int
	open    chan struct{}
}

// expect makes the next n readers of a request wait for each other.
func (s *rendezvousStore) expect(id string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.waiting, s.open = id, n, make(chan struct{})
}

func (s *rendezvousStore) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	record, err := s.Store.Get(ctx, kind, id)
	if kind != "idp.request" {
		return record, err
	}
	s.mu.Lock()
	open := s.open
	if id != s.id || s.waiting == 0 {
		s.mu.Unlock()
		return record, err
	}
	s.waiting--
	if s.waiting == 0 {
		close(open)
	}
	s.mu.Unlock()
	<-open
	return record, err
}

// The worst case of the same race: all 64 have seen the approval, and each has made
// tokens, before the first one is written down.
func TestRedemptionRaceAtTheSameState(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		s := &rendezvousStore{Store: w.store}
		w.cfg.Store = s
		w.restart()
		nodes := []*world{w, w.secondNode()}
		for range rounds(100) {
			authReqID, id := w.raceStart()
			err := w.raceApprove(id)
			if err != nil {
				t.Fatal(err)
			}
			s.expect(id, pollers)
			won := make(chan string, pollers)
			calls := make([]func(), pollers)
			for i := range calls {
				calls[i] = func() {
					status, code, body := nodes[i%2].rawPoll("gateway", secret1, authReqID)
					if status == http.StatusOK {
						won <- body
					} else if code != "invalid_grant" {
						t.Errorf("poll: %d %s", status, code)
					}
				}
			}
			together(calls...)
			if len(won) != 1 {
				t.Fatalf("%d polls got tokens", len(won))
			}
		}
	})
}

// Threats INV-9, T05, T08; CIBA checklist T1: whatever comes at the same time, one
// decision is made and stands; the client hears of that one, and another client of
// nothing.
func TestDecisionsAndPollsRace(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		node := w.secondNode()
		_, _, unknown := w.rawPoll("other", secret2, hashOf("unknown"))
		for range rounds(200) {
			authReqID, id := w.raceStart()
			var mu sync.Mutex
			var approved, denied, tokens int
			codes := make(map[string]bool)
			var calls []func()
			for i := range 8 {
				at := []*world{w, node}[i%2]
				calls = append(calls,
					func() { count(t, &mu, &approved, at.raceApprove(id)) },
					func() { count(t, &mu, &denied, at.Deny(context.Background(), "sub-alice", id)) },
					func() {
						status, code, _ := at.rawPoll("gateway", secret1, authReqID)
						mu.Lock()
						defer mu.Unlock()
						codes[code] = true
						if status == http.StatusOK {
							tokens++
						}
					},
					func() {
						_, _, body := at.rawPoll("other", secret2, authReqID)
						if body != unknown {
							t.Errorf("another client heard %s", body)
						}
					},
				)
			}
			together(calls...)
			if approved+denied != 1 {
				t.Fatalf("%d approvals and %d denials were made", approved, denied)
			}
			delete(codes, "authorization_pending")
			delete(codes, "slow_down")
			status, code, _ := w.rawPoll("gateway", secret1, authReqID)
			switch {
			case denied == 1:
				delete(codes, "access_denied")
				if tokens != 0 || code != "access_denied" || len(codes) != 0 {
					t.Fatalf("denied: %d tokens, then %s, also %v", tokens, code, codes)
				}
			case tokens == 0 && (status != http.StatusOK || len(codes) != 0):
				t.Fatalf("approved: then %d %s, also %v", status, code, codes)
			case tokens == 1:
				delete(codes, "")
				delete(codes, "invalid_grant") // who came second
				if code != "invalid_grant" || len(codes) != 0 {
					t.Fatalf("redeemed: then %s, also %v", code, codes)
				}
			case tokens > 1:
				t.Fatalf("%d polls got tokens", tokens)
			}
		}
	})
}

// count counts decisions that were made; the others must say that they came late.
func count(t *testing.T, mu *sync.Mutex, n *int, err error) {
	mu.Lock()
	defer mu.Unlock()
	switch {
	case err == nil:
		*n++
	case !errors.Is(err, provider.ErrDecided):
		t.Errorf("decision: %v", err)
	}
}

// Threats INV-9, T05: other clients that poll an approved request do not cost its
// owner anything.
func TestForeignPollsRace(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		node := w.secondNode()
		for range rounds(100) {
			authReqID, id := w.raceStart()
			err := w.raceApprove(id)
			if err != nil {
				t.Fatal(err)
			}
			var owner *answer
			calls := []func(){func() { owner = w.poll("gateway", authReqID) }}
			for i := range 32 {
				calls = append(calls, func() {
					status, code, _ := []*world{w, node}[i%2].rawPoll("other", secret2, authReqID)
					if status != http.StatusBadRequest || code != "invalid_grant" {
						t.Errorf("another client: %d %s", status, code)
					}
				})
			}
			together(calls...)
			owner.want(t, 200, "")
			_, _, _ = node.rawPoll("other", secret2, authReqID) // nor later
			userinfo(node, owner.str("access_token")).want(t, 200, "")
		}
	})
}

// Threats INV-9, T09: an approval that comes while the request expires is made in time
// or not at all, and none is made later by a clock that is behind.
func TestExpiryRace(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		for range rounds(100) {
			authReqID, id := w.raceStart()
			w.clock.advance(provider.DefaultRequestLifetime - time.Second)
			var mu sync.Mutex
			var approved, tokens int
			calls := []func(){func() { w.clock.advance(time.Second) }}
			for range 8 {
				calls = append(calls, func() {
					err := w.raceApprove(id)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						approved++
					} else if !errors.Is(err, provider.ErrExpired) && !errors.Is(err, provider.ErrDecided) {
						t.Errorf("approve: %v", err)
					}
				}, func() {
					status, _, _ := w.rawPoll("gateway", secret1, authReqID)
					mu.Lock()
					defer mu.Unlock()
					if status == http.StatusOK {
						tokens++
					}
				})
			}
			together(calls...)
			if approved > 1 || tokens > approved {
				t.Fatalf("%d approvals, %d tokens", approved, tokens)
			}
			_, code, _ := w.rawPoll("gateway", secret1, authReqID)
			if tokens == 0 && code != "expired_token" || tokens == 1 && code != "invalid_grant" {
				t.Fatalf("%d approvals, %d tokens, then %s", approved, tokens, code)
			}
			err := w.raceApprove(id)
			w.clock.advance(-time.Minute)
			again := w.raceApprove(id)
			_, code, _ = w.rawPoll("gateway", secret1, authReqID)
			if err == nil || again == nil || code != "expired_token" && code != "invalid_grant" {
				t.Fatalf("after expiry: %v, %v, %s", err, again, code)
			}
			w.clock.advance(time.Minute)
		}
	})
}

// Threats INV-13: starts at the same time do not leave more requests waiting than
// the limits allow.
func TestPendingLimitRace(t *testing.T) {
	w := newWorld(t, nil)
	calls := make([]func(), 32)
	for i := range calls {
		calls[i] = func() { w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice") }
	}
	together(calls...)
	pending, err := w.Pending(t.Context(), "sub-alice")
	if err != nil || len(pending) > provider.DefaultMaxPendingPerUserAndClient {
		t.Errorf("%d requests are pending, %v", len(pending), err)
	}
}
