package stepup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newTestJournal(t testing.TB, s store.Store, instance string, c *clock) *Journal {
	t.Helper()
	j, err := NewJournal(JournalConfig{Store: s, Instance: instance, Now: c.Now, Retention: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// at returns a new transaction that was led to the state.
func at(t testing.TB, j *Journal, state State) *entry {
	t.Helper()
	paths := map[State][]State{
		StateHeld:      {},
		StateRequested: {StateRequested},
		StateApproved:  {StateRequested, StateApproved},
		StateSending:   {StateRequested, StateApproved, StateSending},
		StateAnswered:  {StateRequested, StateApproved, StateSending, StateAnswered},
		StateInDoubt:   {StateRequested, StateApproved, StateSending, StateInDoubt},
		StateDenied:    {StateRequested, StateDenied},
		StateExpired:   {StateRequested, StateExpired},
		StateCancelled: {StateCancelled},
		StateFailed:    {StateFailed},
	}
	e, err := j.begin(context.Background(), &Transaction{Deadline: j.cfg.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range paths[state] {
		err := j.advance(context.Background(), e, next, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// Design 3.2: the legal edges are these and no others.
func TestEdges(t *testing.T) {
	legal := map[string]bool{}
	for _, edge := range strings.Fields(`
		held>requested held>cancelled held>failed
		requested>approved requested>denied requested>expired requested>cancelled requested>failed
		approved>sending approved>cancelled approved>failed
		sending>answered sending>in_doubt sending>failed`) {
		legal[edge] = true
	}
	c := newClock()
	j := newTestJournal(t, store.NewMemory(store.Options{Now: c.Now}), "a", c)
	for from := range edges {
		for to := range edges {
			e := at(t, j, from)
			err := j.advance(t.Context(), e, to, nil)
			want := legal[string(from)+">"+string(to)]
			if (err == nil) != want || !want && !errors.Is(err, errIllegal) {
				t.Errorf("%s to %s: %v", from, to, err)
			}
			stored, err := j.Get(t.Context(), e.ID)
			if err != nil {
				t.Fatal(err)
			}
			if want && stored.State != to || !want && stored.State != from {
				t.Errorf("%s to %s: stored as %s", from, to, stored.State)
			}
		}
	}
	if State("unknown").Final() || State("unknown").CanBecome(StateHeld) {
		t.Error("an unknown state is taken")
	}
}

// INV-1: of any number of writers one makes the move.
func TestOneWriterMakesTheMove(t *testing.T) {
	c := newClock()
	memory := store.NewMemory(store.Options{Now: c.Now})
	for range 20 {
		id := at(t, newTestJournal(t, memory, "a", c), StateApproved).ID
		var won, lost atomic.Int64
		var group sync.WaitGroup
		start := make(chan struct{})
		for i := range 64 {
			j := newTestJournal(t, memory, fmt.Sprint(i), c)
			e, err := j.read(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			group.Go(func() {
				<-start
				err := j.advance(context.Background(), e, StateSending, nil)
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, errMoved):
					lost.Add(1)
				}
			})
		}
		close(start)
		group.Wait()
		if won.Load() != 1 || lost.Load() != 63 {
			t.Fatalf("%d won, %d lost", won.Load(), lost.Load())
		}
	}
}

// INV-1, INV-9 as a property: whatever several writers try in whatever order,
// with writes that fail or are torn, an end is absorbing and at most one of them
// may send.
func TestJournalProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		faulty := &faultyStore{Store: store.NewMemory(store.Options{Now: c.Now})}
		faulty.fail = func(int, State) (bool, bool) { return false, false }
		journals := make([]*Journal, 3)
		entries := make([]*entry, 3)
		for i := range journals {
			j, err := NewJournal(JournalConfig{Store: faulty, Instance: fmt.Sprint(i), Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			journals[i] = j
		}
		first, err := journals[0].begin(context.Background(), &Transaction{Deadline: c.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			entries[i], err = journals[i].read(context.Background(), first.ID)
			if err != nil {
				t.Fatal(err)
			}
		}
		states := []State{StateHeld, StateRequested, StateApproved, StateSending, StateAnswered, StateDenied, StateExpired, StateCancelled, StateFailed, StateInDoubt}
		var senders int
		var end State
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			who := rapid.IntRange(0, 2).Draw(t, "who")
			fault := rapid.SampledFrom([]string{"", "", "", "fail", "torn"}).Draw(t, "fault")
			faulty.fail = func(int, State) (bool, bool) { return fault == "fail", fault == "torn" }
			j, e := journals[who], entries[who]
			switch rapid.SampledFrom([]string{"advance", "advance", "advance", "settle", "read", "recover"}).Draw(t, "act") {
			case "advance":
				next := rapid.SampledFrom(states).Draw(t, "next")
				err := j.advance(context.Background(), e, next, func(t *Transaction) { t.Claim = fmt.Sprint(who) })
				if err == nil && next == StateSending {
					senders++
				}
			case "settle":
				next := rapid.SampledFrom(states[4:]).Draw(t, "end")
				_ = j.settle(context.Background(), e, next, fmt.Sprint(who), nil)
			case "read":
				fresh, err := j.read(context.Background(), first.ID)
				if err != nil {
					t.Fatal(err)
				}
				entries[who] = fresh
			case "recover":
				if rapid.Bool().Draw(t, "late") {
					c.advance(time.Hour)
				}
				_, _ = j.Recover(context.Background(), rapid.Bool().Draw(t, "exclusive"))
			}
			now, err := j.read(context.Background(), first.ID)
			if err != nil {
				t.Fatal(err)
			}
			if end != "" && now.State != end {
				t.Fatalf("left the end %s for %s", end, now.State)
			}
			if now.State.Final() {
				end = now.State
			}
			if senders > 1 {
				t.Fatal("two writers may send")
			}
			if now.State == StateAnswered || now.State == StateInDoubt {
				if now.Times[StateSending].IsZero() {
					t.Fatalf("%s without having been sending", now.State)
				}
			}
		}
	})
}

// Whoever is not the one that sends cannot end what is being sent.
func TestOnlyTheSenderEndsSending(t *testing.T) {
	c := newClock()
	j := newTestJournal(t, store.NewMemory(store.Options{Now: c.Now}), "a", c)
	e := at(t, j, StateApproved)
	other := &entry{Transaction: e.clone(), version: e.version}
	err := j.advance(t.Context(), e, StateSending, func(t *Transaction) { t.Claim = "mine" })
	if err != nil {
		t.Fatal(err)
	}
	for _, claim := range []string{"", "other"} {
		stale := &entry{Transaction: other.clone(), version: other.version}
		err = j.settle(t.Context(), stale, StateFailed, claim, nil)
		if !errors.Is(err, errMoved) {
			t.Errorf("claim %q: error is %v", claim, err)
		}
	}
	err = j.settle(t.Context(), e, StateAnswered, "mine", nil)
	if err != nil || e.State != StateAnswered {
		t.Errorf("state is %s, error %v", e.State, err)
	}
}

// INV-5, INV-6: what a dead process has left is ended as what it is.
func TestRecover(t *testing.T) {
	c := newClock()
	memory := store.NewMemory(store.Options{Now: c.Now})
	dead := newTestJournal(t, memory, "dead", c)
	ids := map[State]string{}
	for state := range edges {
		ids[state] = at(t, dead, state).ID
	}
	alive := newTestJournal(t, memory, "alive", c)
	mine := at(t, alive, StateSending).ID

	// Another node that shares the store may still be at it.
	found, err := alive.Recover(t.Context(), false)
	if err != nil || len(found.Failed)+len(found.InDoubt) != 0 {
		t.Fatalf("found %+v, error %v", found, err)
	}
	found, err = alive.Recover(t.Context(), true)
	if err != nil || len(found.Failed) != 3 || len(found.InDoubt) != 1 || found.InDoubt[0] != ids[StateSending] {
		t.Fatalf("found %+v, error %v", found, err)
	}
	want := map[State]State{
		StateHeld: StateFailed, StateRequested: StateFailed, StateApproved: StateFailed, StateSending: StateInDoubt,
	}
	for before, id := range ids {
		tx, err := alive.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		after, open := want[before]
		if !open {
			after = before
		}
		if tx.State != after {
			t.Errorf("%s became %s, want %s", before, tx.State, after)
		}
	}
	tx, err := alive.Get(t.Context(), mine)
	if err != nil || tx.State != StateSending {
		t.Errorf("own transaction is %+v, error %v", tx, err)
	}

	// Without exclusive use, time tells.
	c.advance(time.Minute + recoveryMargin + time.Second)
	found, err = newTestJournal(t, memory, "third", c).Recover(t.Context(), false)
	if err != nil || len(found.InDoubt) != 1 || found.InDoubt[0] != mine {
		t.Errorf("found %+v, error %v", found, err)
	}
}

// What somebody moves on while recovery looks at it is alive.
func TestRecoverSparesTheLiving(t *testing.T) {
	c := newClock()
	memory := store.NewMemory(store.Options{Now: c.Now})
	living := newTestJournal(t, memory, "living", c)
	e := at(t, living, StateHeld)
	j := newTestJournal(t, &listing{Store: memory, after: func() {
		if e.State == StateHeld {
			err := living.advance(context.Background(), e, StateRequested, nil)
			if err != nil {
				t.Fatal(err)
			}
		}
	}}, "recovering", c)
	c.advance(time.Hour)
	found := &Recovered{}
	page, err := j.List(t.Context(), StateHeld, "", 10)
	if err != nil || len(page) != 1 {
		t.Fatalf("page has %d, error %v", len(page), err)
	}
	err = j.bury(t.Context(), page[0].ID, StateHeld, found)
	if err != nil || len(found.Failed) != 0 {
		t.Errorf("found %+v, error %v", found, err)
	}
	now, err := j.Get(t.Context(), e.ID)
	if err != nil || now.State != StateRequested {
		t.Errorf("transaction is %+v, error %v", now, err)
	}
}

// listing does something after each List.
type listing struct {
	store.Store
	after func()
}

func (l *listing) List(ctx context.Context, kind string, index store.Index, after string, limit int) ([]*store.Record, error) {
	records, err := l.Store.List(ctx, kind, index, after, limit)
	l.after()
	return records, err
}

func TestRecoverReadsAllPages(t *testing.T) {
	c := newClock()
	memory := store.NewMemory(store.Options{Now: c.Now})
	dead := newTestJournal(t, memory, "dead", c)
	for range 2*recoveryPage + 1 {
		at(t, dead, StateRequested)
	}
	found, err := newTestJournal(t, memory, "alive", c).Recover(t.Context(), true)
	if err != nil || len(found.Failed) != 2*recoveryPage+1 {
		t.Errorf("found %d, error %v", len(found.Failed), err)
	}
}

// The journal keeps ended transactions for a time, and those in doubt until
// somebody has looked.
func TestRetention(t *testing.T) {
	c := newClock()
	j := newTestJournal(t, store.NewMemory(store.Options{Now: c.Now}), "a", c)
	kept := map[State]bool{StateInDoubt: true, StateHeld: true, StateRequested: true, StateApproved: true, StateSending: true}
	ids := map[State]string{}
	for state := range edges {
		ids[state] = at(t, j, state).ID
	}
	c.advance(time.Hour + time.Second)
	for state, id := range ids {
		_, err := j.Get(t.Context(), id)
		if kept[state] != (err == nil) || err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", state, err)
		}
	}
}

func TestListIsByState(t *testing.T) {
	c := newClock()
	j := newTestJournal(t, store.NewMemory(store.Options{Now: c.Now}), "a", c)
	for range 3 {
		at(t, j, StateInDoubt)
		at(t, j, StateAnswered)
	}
	list, err := j.List(t.Context(), StateInDoubt, "", 2)
	if err != nil || len(list) != 2 {
		t.Fatalf("list has %d, error %v", len(list), err)
	}
	rest, err := j.List(t.Context(), StateInDoubt, list[1].ID, 10)
	if err != nil || len(rest) != 1 || rest[0].State != StateInDoubt {
		t.Errorf("rest has %d, error %v", len(rest), err)
	}
}

// INV-11: neither body nor token nor names reach the store.
func TestJournalHasNoSecrets(t *testing.T) {
	upstream := &counting{}
	seen := &dumpStore{Store: store.NewMemory(store.Options{})}
	b := newBench(t, upstream.next, func(c *Config) { c.Store = seen })
	b.do("POST", "/p?query=canary-query", "canary-body", nil)
	if upstream.count() != 1 || len(seen.dump) == 0 {
		t.Fatal("nothing was sent or written")
	}
	for _, secret := range []string{testToken, "canary-query", "canary-body", "alice", "teller"} {
		if strings.Contains(seen.dump, secret) {
			t.Errorf("store has %q", secret)
		}
	}
	if tx := b.only(t); tx.Customer != Fingerprint("alice") || tx.Caller != Fingerprint("teller") {
		t.Errorf("transaction is %+v", tx)
	}
}

// dumpStore keeps all that was written.
type dumpStore struct {
	store.Store
	dump string
}

func (d *dumpStore) Create(ctx context.Context, r *store.Record) error {
	d.dump += fmt.Sprintf("%s %s %s %v\n", r.Kind, r.ID, r.Data, r.Indexes)
	return d.Store.Create(ctx, r)
}

func (d *dumpStore) Update(ctx context.Context, r *store.Record) error {
	d.dump += fmt.Sprintf("%s %s %s %v\n", r.Kind, r.ID, r.Data, r.Indexes)
	return d.Store.Update(ctx, r)
}
