package stepup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

func withKey(key string) http.Header { return http.Header{"Idempotency-Key": {key}} }

// undecided makes the customer wait for the test: what is sent on the channel is
// how they decide, and once it is closed they approve.
func (b *bench) undecided() chan<- error {
	decide := make(chan error)
	b.client.wait = func(ctx context.Context) error {
		select {
		case err := <-decide:
			return err
		case <-ctx.Done():
			return untilDone(ctx)
		}
	}
	return decide
}

// later sends a request and returns when all that can happen has happened.
func (b *bench) later(target, body string, header http.Header) <-chan *httptest.ResponseRecorder {
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() { answer <- b.do("POST", target, body, header) }()
	synctest.Wait()
	return answer
}

// A request that is waiting already is not asked about twice, by whatever it is
// known to be the same (threats.md G13, G14). Others are asked about.
func TestDuplicateWhileHeld(t *testing.T) {
	const target = "http://api.example.com/p"
	cases := []struct {
		name           string
		first, second  http.Header
		target, caller string // of the second, where they differ
		body           string
		want           Problem // empty: asked about like the first
		status         int
		joins          bool // gets the answer of the first
	}{
		{name: "no key", body: "1", want: ProblemIdentical, status: 409},
		{name: "no key, another body", body: "2"},
		{name: "no key, another caller", body: "1", caller: "other"},
		{name: "no key, another host", body: "1", target: "http://other.example.com/p"},
		{name: "a key the second time", body: "1", second: withKey("k")},
		{name: "another key", body: "1", first: withKey("k"), second: withKey("l")},
		{name: "same key", body: "1", first: withKey("k"), second: withKey("k"), joins: true},
		{name: "same key, another body", body: "2", first: withKey("k"), second: withKey("k"), want: ProblemKeyReused, status: 422},
		{name: "same key, another target", body: "1", target: target + "2", first: withKey("k"), second: withKey("k"), want: ProblemKeyReused, status: 422},
		{name: "same key, another caller", body: "1", caller: "other", first: withKey("k"), second: withKey("k")},
		{name: "same key, another host", body: "1", target: "http://other.example.com/p", first: withKey("k"), second: withKey("k")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upstream := &counting{}
				b := newBench(t, upstream.next)
				caller := "teller"
				b.route.Ask = func(context.Context, *Snapshot, *Document) (Ask, error) {
					return Ask{Customer: "alice", Caller: caller, Message: "Pay"}, nil
				}
				decide := b.undecided()
				first := b.later(target, "1", c.first)
				held := b.only(t)
				if c.caller != "" {
					caller = c.caller
				}
				if c.target == "" {
					c.target = target
				}
				second := b.later(c.target, c.body, c.second)
				switch {
				case c.joins:
					if b.client.asked() != 1 {
						t.Errorf("asked %d times, want 1", b.client.asked())
					}
				case c.want == "":
					if b.client.asked() != 2 {
						t.Errorf("asked %d times, want 2", b.client.asked())
					}
				default:
					answer := <-second
					f := b.lastRefusal()
					if answer.Code != c.status || f.Problem != c.want || b.client.asked() != 1 {
						t.Errorf("answer is %d %v %+v, asked %d times", answer.Code, answer.Header(), f, b.client.asked())
					}
					if c.status == 409 && !strings.HasPrefix(answer.Header().Get("Location"), statusPrefix) {
						t.Errorf("Location is %q", answer.Header().Get("Location"))
					}
					if c.status == 409 && (f.Transaction != held.ID || f.State != StateRequested || f.Forwarded != ForwardedNo) {
						t.Errorf("refusal is %+v, of %+v", f, held)
					}
				}
				close(decide)
				if answer := <-first; answer.Code != 201 {
					t.Errorf("the first got %d", answer.Code)
				}
				want := 1
				switch {
				case c.joins:
					answer := <-second
					if answer.Code != 201 || answer.Header().Get("Idempotency-Replayed") != "true" {
						t.Errorf("the second got %d %v", answer.Code, answer.Header())
					}
				case c.want == "":
					want = 2
					<-second
				}
				if upstream.count() != want {
					t.Errorf("sent %d times, want %d", upstream.count(), want)
				}
			})
		})
	}
}

// What a repetition gets after the first one's end: without a key it is a request
// of its own; with a key nothing that may have been carried out is sent again, and
// what was not sent can be tried again.
func TestDuplicateAfterEnd(t *testing.T) {
	denied := &ciba.Error{Op: "wait", Code: ciba.CodeAccessDenied}
	lost := errors.New("connection reset")
	cases := []struct {
		name    string
		key     http.Header
		decide  error
		fail    error
		first   int
		status  int
		problem Problem
		state   State

		replayed bool
	}{
		{name: "answered, no key", first: 201, status: 201},
		{name: "answered", key: withKey("k"), first: 201, status: 201, replayed: true},
		{name: "in doubt, no key", fail: lost, first: 502, status: 201},
		{name: "in doubt", key: withKey("k"), fail: lost, first: 502, status: 409, problem: ProblemAlreadySent, state: StateInDoubt},
		{name: "denied, no key", decide: denied, first: 403, status: 201},
		{name: "denied", key: withKey("k"), decide: denied, first: 403, status: 201},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			upstream := &counting{}
			fail := c.fail
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) error {
				if fail != nil {
					return fail
				}
				return upstream.next(w, r)
			})
			b.client.wait = func(context.Context) error { return c.decide }
			answer := b.do("POST", "/p", "1", c.key)
			if answer.Code != c.first {
				t.Fatalf("the first got %d", answer.Code)
			}
			b.client.wait, fail = nil, nil
			sent := upstream.count()
			answer = b.do("POST", "/p", "1", c.key)
			if answer.Code != c.status {
				t.Fatalf("the second got %d %s", answer.Code, answer.Body)
			}
			if replayed := answer.Header().Get("Idempotency-Replayed") == "true"; replayed != c.replayed {
				t.Errorf("replayed is %v", replayed)
			}
			if c.problem == "" {
				if c.replayed {
					sent--
				}
				if upstream.count() != sent+1 {
					t.Errorf("sent %d times after %d", upstream.count(), sent)
				}
				return
			}
			f := b.lastRefusal()
			if f.Problem != c.problem || f.State != c.state || f.Forwarded == ForwardedNo || upstream.count() != sent || b.client.asked() != 1 {
				t.Errorf("refusal is %+v", f)
			}
		})
	}
}

// A key is remembered for a day after the end of what it was sent with.
func TestKeyIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &counting{}
		b := newBench(t, upstream.next)
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 201}, {24 * time.Hour, 409}, {time.Hour, 201}} {
			time.Sleep(step.after)
			if answer := b.do("POST", "/p", "1", withKey("k")); answer.Code != step.want {
				t.Errorf("after %v: %d, want %d", step.after, answer.Code, step.want)
			}
		}
		if upstream.count() != 2 {
			t.Errorf("sent %d times", upstream.count())
		}
	})
}

// Of many equal requests at once, one is asked about and sent (INV-4).
func TestDuplicateRace(t *testing.T) {
	for _, key := range []http.Header{nil, withKey("k")} {
		t.Run(fmt.Sprint(key), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upstream := &counting{}
				b := newBench(t, upstream.next)
				decide := b.undecided()
				var all sync.WaitGroup
				var mu sync.Mutex
				codes := make(map[int]int)
				for range 64 {
					all.Go(func() {
						answer := b.do("POST", "/p", "1", key)
						mu.Lock()
						defer mu.Unlock()
						codes[answer.Code]++
					})
				}
				synctest.Wait()
				close(decide)
				all.Wait()
				// Those with a key join the first one.
				firsts := 1
				if key != nil {
					firsts = 64
				}
				if codes[201] != firsts || codes[201]+codes[409] != 64 || b.client.asked() != 1 || upstream.count() != 1 {
					t.Errorf("answers %v, asked %d times, sent %d", codes, b.client.asked(), upstream.count())
				}
			})
		})
	}
}

// A process that died with a request leaves no record that is in the way for
// long: Recover ends the transaction, and a record without one is an orphan.
func TestDuplicateOfDeadProcess(t *testing.T) {
	cases := []struct {
		name    string
		key     http.Header
		left    State // empty: died between the two writes
		recover bool
		after   time.Duration
		want    int
	}{
		{name: "requested, not recovered", left: StateRequested, want: 409},
		{name: "requested", left: StateRequested, recover: true, want: 201},
		{name: "requested, key", key: withKey("k"), left: StateRequested, recover: true, want: 201},
		{name: "sending", left: StateSending, recover: true, want: 201},
		{name: "sending, key", key: withKey("k"), left: StateSending, recover: true, want: 409},
		{name: "orphan at once", want: 409},
		{name: "orphan later", after: 2 * time.Minute, want: 201},
		{name: "orphan later, key", key: withKey("k"), after: 2 * time.Minute, want: 201},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := &leaking{Store: store.NewMemory(store.Options{})}
				defer shared.Close()
				sharing := func(cfg *Config) { cfg.Store = shared }
				dead := newBench(t, answering(201, ""), sharing)
				shared.until(c.left)
				dead.do("POST", "/p", "1", c.key)
				shared.until("*")
				time.Sleep(c.after)

				b := newBench(t, answering(201, ""), sharing)
				if c.recover {
					found, err := b.gate.Journal().Recover(t.Context(), true)
					if err != nil {
						t.Fatal(err)
					}
					err = b.gate.TakeUp(t.Context(), found.Orphans)
					if err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				if answer := b.do("POST", "/p", "1", c.key); answer.Code != c.want {
					t.Errorf("answer is %d, want %d: %s", answer.Code, c.want, answer.Body)
				}
			})
		})
	}
}

// leaking is a store that, like a process that dies, writes nothing more after a
// transaction has come to a state.
type leaking struct {
	store.Store
	mu   sync.Mutex
	last State // "*" for no end
	dead bool
}

var errDead = errors.New("process is dead")

func (l *leaking) until(last State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.dead = last, false
}

func (l *leaking) dies(r *store.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return true
	}
	if r.Kind != recordKind || l.last == "*" {
		return false
	}
	if l.last == "" {
		l.dead = true
		return true
	}
	t, err := decodeTransaction(r.Data)
	l.dead = err == nil && t.State == l.last
	return false
}

func (l *leaking) Create(ctx context.Context, r *store.Record) error {
	if l.dies(r) {
		return errDead
	}
	return l.Store.Create(ctx, r)
}

func (l *leaking) Update(ctx context.Context, r *store.Record) error {
	if l.dies(r) {
		return errDead
	}
	return l.Store.Update(ctx, r)
}
