package stepup

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// anonymously has nobody known who calls.
func anonymously(ask func(context.Context, *Snapshot, *Document) (Ask, error)) func(context.Context, *Snapshot, *Document) (Ask, error) {
	return func(ctx context.Context, s *Snapshot, d *Document) (Ask, error) {
		a, err := ask(ctx, s, d)
		a.Anonymous = true
		return a, err
	}
}

// orphan leaves an async transaction in the store, as a process does that dies
// once the store has seen the given number of writes of the state.
func orphan(t *testing.T, shared *leaking, left State, mode Mode, wait func(context.Context) error) string {
	t.Helper()
	dead := newBench(t, func(http.ResponseWriter, *http.Request) error {
		if left != StateSending {
			t.Error("the dead process has sent")
		}
		return context.Canceled
	}, func(cfg *Config) { cfg.Store = shared })
	dead.route.Mode = mode
	if wait == nil {
		wait = func(context.Context) error { return nil }
	}
	dead.client.wait = wait
	shared.until(left)
	header := http.Header{}
	if mode == ModeRedirect {
		header = navigation
	}
	w := dead.do("POST", "/p?q=1", "1", header)
	synctest.Wait()
	shared.until("*")
	return w.Header().Get("Location")
}

// A kept transaction goes on in another process from wherever it was left, ends
// cleanly, or is in doubt; it is sent at most once (INV-5, INV-6).
func TestTakeUp(t *testing.T) {
	cases := []struct {
		name   string
		left   State
		decide error // of the customer, for the other process
		want   State
		sent   int
	}{
		{name: "read", left: StateHeld, want: StateFailed},
		{name: "while asking", left: StateRequested, want: StateFailed},
		{name: "while waiting, approved then", left: "*", want: StateAnswered, sent: 1},
		{name: "while waiting, denied then", left: "*", decide: &ciba.Error{Op: "wait", Code: ciba.CodeAccessDenied}, want: StateDenied},
		{name: "approved", left: StateApproved, want: StateAnswered, sent: 1},
		{name: "sending", left: StateSending, want: StateInDoubt},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := &leaking{Store: store.NewMemory(store.Options{})}
				defer shared.Close()
				var wait func(context.Context) error
				if c.left == "*" {
					wait = untilDone // until it hears that somebody else has it
				}
				orphan(t, shared, c.left, ModeAsync, wait)

				upstream := &counting{}
				b := newBench(t, upstream.next, func(cfg *Config) { cfg.Store = shared })
				b.route.Mode = ModeAsync
				b.client.requests = append(b.client.requests, ciba.Request{}) // which the other one has made
				b.client.wait = func(context.Context) error { return c.decide }
				for range 2 {
					found, err := b.gate.Journal().Recover(t.Context(), true)
					if err != nil {
						t.Fatal(err)
					}
					err = b.gate.TakeUp(t.Context(), found.Orphans)
					if err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				tr := b.only(t)
				if tr.State != c.want || upstream.count() != c.sent {
					t.Errorf("state %s %s, sent %d times", tr.State, tr.Problem, upstream.count())
				}
				if c.sent == 1 && (upstream.bodies[0] != "1" || upstream.header.Get("Authorization") != "Bearer "+testToken) {
					t.Errorf("upstream got %v %v", upstream.bodies, upstream.header)
				}
			})
		})
	}
}

// Two processes that share a store: one takes up what a third has left.
func TestTakeUpOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &leaking{Store: store.NewMemory(store.Options{})}
		defer shared.Close()
		orphan(t, shared, StateApproved, ModeAsync, nil)
		upstream := &counting{}
		var all []*bench
		for range 8 {
			b := newBench(t, upstream.next, func(cfg *Config) { cfg.Store = shared })
			b.route.Mode = ModeAsync
			all = append(all, b)
		}
		for _, b := range all {
			go func() {
				found, err := b.gate.Journal().Recover(t.Context(), false)
				if err == nil {
					err = b.gate.TakeUp(t.Context(), found.Orphans)
				}
				if err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if upstream.count() != 1 || all[0].only(t).State != StateAnswered {
			t.Errorf("sent %d times, state %s", upstream.count(), all[0].only(t).State)
		}
	})
}

// overtaken runs a function before the first reading of a kept request.
type overtaken struct {
	store.Store
	before func()
}

func (o *overtaken) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	before := o.before
	if kind == caseKind && before != nil {
		o.before = nil
		before()
	}
	return o.Store.Get(ctx, kind, id)
}

// One process has found what another left, and before it reads on, a third has
// sent it and cleared up: that is no failure of the first.
func TestTakeUpTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &leaking{Store: store.NewMemory(store.Options{})}
		defer shared.Close()
		orphan(t, shared, StateApproved, ModeAsync, nil)
		upstream := &counting{}
		faster := newBench(t, upstream.next, func(cfg *Config) { cfg.Store = shared })
		id := faster.only(t).ID
		slower := newBench(t, upstream.next, func(cfg *Config) {
			cfg.Store = &overtaken{Store: shared, before: func() {
				err := faster.gate.TakeUp(t.Context(), []string{id})
				if err != nil {
					t.Error(err)
				}
				synctest.Wait()
			}}
		})
		err := slower.gate.TakeUp(t.Context(), []string{id})
		if err != nil {
			t.Errorf("too late: %v", err)
		}
		synctest.Wait()
		if upstream.count() != 1 || slower.only(t).State != StateAnswered {
			t.Errorf("sent %d times, state %s", upstream.count(), slower.only(t).State)
		}
		err = slower.gate.TakeUp(t.Context(), []string{"gone"})
		if err != nil {
			t.Errorf("after its time: %v", err)
		}
	})
}

// A process that says that it lives keeps what is its own.
func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory(store.Options{})
		defer shared.Close()
		a := newBench(t, answering(201, ""), func(cfg *Config) { cfg.Store = shared })
		other := newBench(t, answering(201, ""), func(cfg *Config) { cfg.Store = shared })
		a.route.Mode = ModeAsync
		decide := a.undecided()
		a.do("POST", "/p", "1", nil)
		orphans := func() int {
			found, err := other.gate.Journal().Recover(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			return len(found.Orphans)
		}
		for range 2 {
			err := a.gate.Journal().Beat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := orphans(); n != 0 {
			t.Errorf("%d orphans of a process that lives", n)
		}
		time.Sleep(beatLife + time.Second)
		if n := orphans(); n != 1 {
			t.Errorf("%d orphans of a process that is silent", n)
		}
		err := a.gate.Journal().Beat(t.Context())
		if err == nil {
			err = a.gate.Journal().Leave(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := orphans(); n != 1 {
			t.Errorf("%d orphans of a process that has left", n)
		}
		close(decide)
		synctest.Wait()
	})
}

// After a drain, a kept transaction stays where it is, its question is not
// withdrawn, and the process that comes next goes on with it.
func TestDrainParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory(store.Options{})
		defer shared.Close()
		a := newBench(t, answering(500, ""), func(cfg *Config) { cfg.Store = shared })
		a.route.Mode = ModeAsync
		a.undecided()
		a.do("POST", "/p", "1", nil)
		err := a.gate.Drain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a.client.withdrawn() != 0 || a.only(t).State != StateRequested || a.gate.Serves(a.only(t).ID) {
			t.Fatalf("withdrawn %d times, state %s", a.client.withdrawn(), a.only(t).State)
		}
		upstream := &counting{}
		b := newBench(t, upstream.next, func(cfg *Config) { cfg.Store = shared })
		b.route.Mode = ModeAsync
		b.client.requests = append(b.client.requests, ciba.Request{})
		found, err := b.gate.Journal().Recover(t.Context(), true)
		if err == nil {
			err = b.gate.TakeUp(t.Context(), found.Orphans)
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if upstream.count() != 1 || b.only(t).State != StateAnswered {
			t.Errorf("sent %d times, state %s", upstream.count(), b.only(t).State)
		}
	})
}
