package notice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// rig is a queue over a memory store with channels that tests script.
type rig struct {
	t     *testing.T
	store store.Store
	queue *Queue

	mu      sync.Mutex
	order   []string           // "channel" for each attempt, in order
	reports []string           // "channel outcome attempt"
	results map[string][]error // by channel, one for each attempt; nil after that
	round   Round
	decided bool
}

var errDown = errors.New("down")

// newRig returns a rig whose channels have the given keys.
func newRig(t *testing.T, keys ...string) *rig {
	t.Helper()
	g := &rig{t: t, store: store.NewMemory(store.Options{}), results: make(map[string][]error)}
	t.Cleanup(func() {
		err := g.store.Close()
		if err != nil {
			t.Error(err)
		}
	})
	for _, key := range keys {
		g.round.Channels = append(g.round.Channels, Channel{Key: key, Send: func(ctx context.Context) error { return g.send(ctx, key) }})
	}
	g.queue = g.node()
	return g
}

// node is one more queue over the same store.
func (g *rig) node() *Queue {
	return New(Config{
		Store: g.store,
		Open: func(context.Context, Notice) (Round, bool, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.round, !g.decided, nil
		},
		Report: func(r Report) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.reports = append(g.reports, fmt.Sprintf("%s %s %d", r.Channel, r.Outcome, r.Attempt))
		},
	})
}

func (g *rig) send(ctx context.Context, key string) error {
	g.mu.Lock()
	g.order = append(g.order, key)
	var result error
	if len(g.results[key]) > 0 {
		result, g.results[key] = g.results[key][0], g.results[key][1:]
	}
	g.mu.Unlock()
	if errors.Is(result, context.DeadlineExceeded) {
		<-ctx.Done()
		return ctx.Err()
	}
	return result
}

func (g *rig) add(lifetime time.Duration) {
	g.t.Helper()
	g.queue.Add(g.t.Context(), Notice{Request: "r1", Subject: "anna", Expires: time.Now().Add(lifetime)}, g.round)
}

// left is how many notifications the store still has.
func (g *rig) left() int {
	g.t.Helper()
	records, err := g.store.List(g.t.Context(), kind, due, "", 100)
	if err != nil {
		g.t.Fatal(err)
	}
	return len(records)
}

// check compares what was reported so far, in whichever order.
func (g *rig) check(want ...string) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	got := slices.Sorted(slices.Values(g.reports))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		g.t.Errorf("reports are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// end closes a queue and waits for what it is doing.
func end(q *Queue) {
	q.Close()
	q.Wait()
}

func TestOutcomes(t *testing.T) {
	downFor := func(n int) []error { return slices.Repeat([]error{errDown}, n) }
	tests := map[string]struct {
		results map[string][]error
		first   bool // UntilReached
		life    time.Duration
		want    []string
	}{
		"all are used": {nil, false, time.Hour, []string{"push sent 1", "mail sent 1"}},
		"no address": {
			map[string][]error{"push": {ErrNoAddress}}, false, time.Hour,
			[]string{"push skipped 1", "mail sent 1"},
		},
		"only what failed is tried again": {
			map[string][]error{"mail": downFor(2)}, false, time.Hour,
			[]string{"push sent 1", "mail retried 1", "mail retried 2", "mail sent 3"},
		},
		"retries are bounded": {
			map[string][]error{"push": downFor(50), "mail": {Permanent(errDown)}}, false, time.Hour,
			[]string{"push retried 1", "push retried 2", "push retried 3", "push retried 4", "push failed 5", "mail failed 1"},
		},
		"and end with the request": {
			map[string][]error{"push": downFor(50)}, false, 7 * time.Second,
			[]string{"mail sent 1", "push retried 1", "push retried 2", "push failed 3"},
		},
		"the first one is enough": {nil, true, time.Hour, []string{"push sent 1"}},
		"the second one is reached over the first one": {
			map[string][]error{"push": {ErrNoAddress}}, true, time.Hour,
			[]string{"push skipped 1", "mail sent 1"},
		},
		"what failed before success is left alone": {
			map[string][]error{"push": downFor(1)}, true, time.Hour,
			[]string{"push failed 1", "mail sent 1"},
		},
		"nobody is reached at first": {
			map[string][]error{"push": downFor(2), "mail": downFor(1)}, true, time.Hour,
			[]string{"push retried 1", "mail retried 1", "push failed 2", "mail sent 2"},
		},
		"one that hangs takes nothing from the other": {
			map[string][]error{"push": {context.DeadlineExceeded}}, false, time.Hour,
			[]string{"push retried 1", "mail sent 1", "push sent 2"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, "push", "mail")
				g.results = test.results
				g.round.UntilReached = test.first
				g.queue.Start()
				g.add(test.life)
				time.Sleep(30 * time.Minute) // of the bubble's clock
				end(g.queue)
				g.check(test.want...)
				if n := g.left(); n != 0 {
					t.Errorf("%d notifications are left", n)
				}
			})
		})
	}
}

// The order is that of the configuration, also where all channels are used.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, "push", "mail", "hook")
		g.round.UntilReached = true
		g.results["push"], g.results["mail"] = []error{errDown}, []error{ErrNoAddress}
		g.add(time.Hour)
		end(g.queue)
		if !slices.Equal(g.order, []string{"push", "mail", "hook"}) {
			t.Errorf("the order was %v", g.order)
		}
	})
}

// Add returns before anybody has been notified, whatever the channels do
// (CIBA checklist R5).
func TestAddDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, "push")
		g.results["push"] = []error{context.DeadlineExceeded}
		begin := time.Now()
		g.add(time.Hour)
		if took := time.Since(begin); took != 0 {
			t.Errorf("Add took %s", took)
		}
		g.check()
		end(g.queue)
		g.check("push retried 1")
	})
}

// What a node has left when it went down, in the middle of an attempt or between
// two, is sent by one of the others, once.
func TestOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, "push")
		begun := newEntry(Notice{Request: "r1", Subject: "anna", Expires: time.Now().Add(time.Hour)}, g.round, time.Now())
		err := g.queue.create(t.Context(), begun)
		if err != nil {
			t.Fatal(err)
		}
		others := []*Queue{g.node(), g.node(), g.node()}
		for _, q := range others {
			q.Start()
		}
		time.Sleep(Timeout)
		synctest.Wait()
		g.check()
		time.Sleep(time.Minute)
		for _, q := range others {
			end(q)
		}
		g.check("push sent 2")
	})
}

// A request that was decided is not notified of again, and a closed queue begins
// nothing; what it leaves is written down.
func TestNothingAfterTheDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, "push")
		g.results["push"] = []error{errDown}
		g.queue.Start()
		g.add(time.Hour)
		synctest.Wait()
		g.mu.Lock()
		g.decided = true
		g.mu.Unlock()
		time.Sleep(time.Hour / 2)
		end(g.queue)
		g.check("push retried 1")
		if n := g.left(); n != 0 {
			t.Errorf("%d notifications are left", n)
		}
		g.add(time.Hour)
		synctest.Wait()
		g.check("push retried 1")
		if n := g.left(); n != 1 {
			t.Errorf("a closed queue leaves %d notifications, not 1", n)
		}
	})
}

// brokenStore refuses everything.
type brokenStore struct{ store.Store }

func (brokenStore) Create(context.Context, *store.Record) error { return errDown }

// A store that is down keeps nobody from being notified, once.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, "push", "mail")
		g.results["mail"] = []error{errDown}
		g.queue.cfg.Store = brokenStore{g.store}
		g.add(time.Hour)
		end(g.queue)
		g.check("push sent 1", "mail failed 1")
	})
}

// A channel that has all the work it may have, and one that panics, take nothing
// from the others, and nothing is lost.
func TestBusyAndPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, "push", "mail")
		g.round.Channels = append(g.round.Channels, Channel{Key: "bad", Send: func(context.Context) error { panic("secret") }})
		var release []func()
		for range channelSlots {
			free, ok := g.queue.slot("push")
			if !ok {
				t.Fatal("there are too few slots")
			}
			release = append(release, free)
		}
		g.queue.Start()
		g.add(time.Hour)
		synctest.Wait()
		g.check("push retried 1", "mail sent 1", "bad failed 1")
		for _, free := range release {
			free()
		}
		time.Sleep(time.Minute)
		end(g.queue)
		g.check("push retried 1", "mail sent 1", "bad failed 1", "push sent 2")
	})
}
