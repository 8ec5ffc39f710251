package stepup

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// INV-8: a caller that hangs up at any point before sending is never sent for,
// whatever the provider says afterwards.
func TestCallerHangsUp(t *testing.T) {
	type point struct {
		name      string
		place     func(b *bench, leave func())
		asked     int
		withdrawn int
		revoked   int
		state     State // empty: no transaction
	}
	onWrite := func(at State) func(*bench, func()) {
		return func(b *bench, leave func()) {
			b.store.(*faultyStore).fail = func(_ int, next State) (bool, bool) {
				if next == at {
					leave()
				}
				return false, false
			}
		}
	}
	points := []point{
		{"before", func(_ *bench, leave func()) { leave() }, 0, 0, 0, ""},
		{"while Ask", func(b *bench, leave func()) {
			ask := b.route.Ask
			b.route.Ask = func(ctx context.Context, s *Snapshot, d *Document) (Ask, error) {
				leave()
				return ask(ctx, s, d)
			}
		}, 0, 0, 0, ""},
		{"while held is written", onWrite(StateHeld), 0, 0, 0, StateCancelled},
		{"while requested is written", onWrite(StateRequested), 1, 1, 0, StateCancelled},
		{"while asking", func(b *bench, leave func()) {
			// The answer with which the question can be withdrawn is waited for.
			b.client.start = func(ctx context.Context, _ ciba.Request) error { leave(); return ctx.Err() }
		}, 1, 1, 0, StateCancelled},
		{"while asking, which fails", func(b *bench, leave func()) {
			b.client.start = func(context.Context, ciba.Request) error {
				leave()
				return fails("start", ciba.CodeUnavailable)
			}
		}, 1, 0, 0, StateCancelled},
		{"while waiting", func(b *bench, leave func()) {
			b.client.wait = func(ctx context.Context) error { leave(); return untilDone(ctx) }
		}, 1, 1, 0, StateCancelled},
		{"while waiting, and the customer approves", func(b *bench, leave func()) {
			b.client.wait = func(context.Context) error { leave(); return nil }
		}, 1, 0, 1, StateCancelled},
		{"while waiting, and the customer denies", func(b *bench, leave func()) {
			b.client.wait = func(context.Context) error { leave(); return fails("wait", ciba.CodeAccessDenied) }
		}, 1, 1, 0, StateCancelled},
		{"while approved is written", onWrite(StateApproved), 1, 0, 1, StateCancelled},
	}
	for _, p := range points {
		t.Run(p.name, func(t *testing.T) {
			upstream := &counting{}
			faulty := &faultyStore{Store: store.NewMemory(store.Options{})}
			faulty.fail = func(int, State) (bool, bool) { return false, false }
			b := newBench(t, upstream.next, func(c *Config) { c.Store = faulty })
			ctx, leave := context.WithCancel(t.Context())
			p.place(b, leave)
			r := httptest.NewRequest("POST", "/p", strings.NewReader("body")).WithContext(ctx)
			b.ServeHTTP(httptest.NewRecorder(), r)
			if upstream.count() != 0 {
				t.Fatal("the upstream has seen the request")
			}
			if f := b.lastRefusal(); f == nil || f.Problem != ProblemCallerGone || f.Status != 499 || f.State != p.state {
				t.Errorf("refusal is %+v", f)
			}
			if b.client.asked() != p.asked || b.client.withdrawn() != p.withdrawn || b.client.revocations() != p.revoked {
				t.Errorf("asked %d, withdrawn %d, revoked %d", b.client.asked(), b.client.withdrawn(), b.client.revocations())
			}
			if p.state == "" {
				if len(b.all(t)) != 0 {
					t.Error("a transaction was begun")
				}
				return
			}
			if tx := b.only(t); tx.State != p.state {
				t.Errorf("transaction is %+v", tx)
			}
			if b.events.has(EventApproved) && p.name != "while approved is written" {
				t.Errorf("events are %v", b.events.types())
			}
			held, _ := b.gate.Held()
			if held != 0 {
				t.Errorf("%d are held", held)
			}
		})
	}
}

// From sending on the request goes through, and its outcome is written down,
// also when the caller has gone (design 3.3).
func TestCallerHangsUpWhileSending(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var sent error
	next := func(w http.ResponseWriter, r *http.Request) error {
		leave()
		time.Sleep(time.Millisecond)
		sent = r.Context().Err()
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	b := newBench(t, next)
	b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/p", strings.NewReader("body")).WithContext(ctx))
	if sent != nil {
		t.Errorf("the upstream's context has ended: %v", sent)
	}
	if tx := b.only(t); tx.State != StateAnswered || tx.Status != http.StatusCreated {
		t.Errorf("transaction is %+v", tx)
	}
}

// INV-8 over a real connection: the server notices that the caller has gone,
// since the whole body was read before the wait.
func TestCallerClosesItsConnection(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	waiting := make(chan struct{})
	b.client.wait = func(ctx context.Context) error {
		close(waiting)
		return untilDone(ctx)
	}
	server := b.serve(t)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Write([]byte("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"))
	if err != nil {
		t.Fatal(err)
	}
	<-waiting
	conn.Close()
	eventually(t, "cancelled", func() bool { return b.events.has(EventCancelled) })
	if upstream.count() != 0 || b.client.withdrawn() != 1 || b.only(t).State != StateCancelled {
		t.Errorf("sent %d, withdrawn %d, transaction %+v", upstream.count(), b.client.withdrawn(), b.only(t))
	}
}

// INV-1, INV-16: many at once are each sent once, and nothing is left behind.
func TestManyAtOnce(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	release := make(chan struct{})
	b.client.wait = func(context.Context) error { <-release; return nil }
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() { b.do("POST", "/p", fmt.Sprintf("%04d", i), nil) })
	}
	eventually(t, "all held", func() bool { held, _ := b.gate.Held(); return held == 64 && b.client.asked() == 64 })
	_, bytes := b.gate.Held()
	if bytes != 64*4 {
		t.Errorf("%d bytes are held", bytes)
	}
	close(release)
	group.Wait()
	if upstream.count() != 64 {
		t.Errorf("upstream has seen %d", upstream.count())
	}
	digests := map[string]bool{}
	for _, tx := range b.all(t) {
		digests[tx.Digest] = true
		if tx.State != StateAnswered {
			t.Errorf("transaction is %+v", tx)
		}
	}
	if len(digests) != 64 {
		t.Errorf("%d digests for 64 requests", len(digests))
	}
}

// Threats T17, G21: caps are reached before anybody is asked.
func TestLimits(t *testing.T) {
	cases := []struct {
		name    string
		limits  Limits
		other   bool // the second caller is another one
		want    int
		problem Problem
	}{
		{"held", Limits{Held: 1}, true, 503, ProblemBusy},
		{"bytes", Limits{HeldBytes: 7}, true, 503, ProblemBusy},
		{"held per caller", Limits{HeldPerCaller: 1}, false, 429, ProblemTooManyHeld},
		{"bytes per caller", Limits{HeldBytesPerCaller: 7}, false, 429, ProblemTooManyHeld},
		{"held per caller, another caller", Limits{HeldPerCaller: 1}, true, 201, ""},
		{"bytes per caller, another caller", Limits{HeldBytesPerCaller: 7}, true, 201, ""},
		{"room for both", Limits{Held: 2, HeldBytes: 8, HeldPerCaller: 2, HeldBytesPerCaller: 8}, false, 201, ""},
		{"no limits", Limits{Held: -1, HeldBytes: -1, HeldPerCaller: -1, HeldBytesPerCaller: -1}, false, 201, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next, func(cfg *Config) { cfg.Limits = c.limits })
			release := make(chan struct{})
			first := true
			var mu sync.Mutex
			b.client.wait = func(context.Context) error {
				mu.Lock()
				mine := first
				first = false
				mu.Unlock()
				if mine {
					<-release
				}
				return nil
			}
			b.route.Ask = func(_ context.Context, s *Snapshot, _ *Document) (Ask, error) {
				caller := "teller"
				if c.other {
					caller = s.Header().Get("X-Caller")
				}
				return Ask{Customer: "alice", Caller: caller}, nil
			}
			var group sync.WaitGroup
			group.Go(func() { b.do("POST", "/p", "body", http.Header{"X-Caller": {"one"}}) })
			eventually(t, "first held", func() bool { return b.client.asked() == 1 })
			answer := b.do("POST", "/p", "next", http.Header{"X-Caller": {"two"}})
			if answer.Code != c.want {
				t.Errorf("status is %d, want %d", answer.Code, c.want)
			}
			if c.problem != "" {
				f := b.lastRefusal()
				if f.Problem != c.problem || answer.Header().Get("Retry-After") == "" || b.client.asked() != 1 || len(b.all(t)) != 1 {
					t.Errorf("refusal is %+v, asked %d", f, b.client.asked())
				}
			}
			close(release)
			group.Wait()
			after := b.do("POST", "/p", "body", http.Header{"X-Caller": {"one"}})
			if after.Code != http.StatusCreated {
				t.Errorf("afterwards the status is %d", after.Code)
			}
		})
	}
}

// A body of unknown length takes the room of the longest until it was read.
func TestRoomIsReservedBeforeTheBodyIsRead(t *testing.T) {
	b := newBench(t, answering(200, ""), func(c *Config) { c.Limits.HeldBytes = defaultMaxBody - 1 })
	r := httptest.NewRequest("POST", "/p", nil)
	read := false
	r.Body = readCloser(func([]byte) (int, error) { read = true; return 0, errors.New("read") })
	r.ContentLength = -1
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || read {
		t.Errorf("status is %d, body was read: %v", w.Code, read)
	}
}

// What was reserved for more than the body has is given back.
func TestRoomShrinksToTheBody(t *testing.T) {
	b := newBench(t, answering(200, ""))
	var bytes int64
	b.client.wait = func(context.Context) error {
		_, bytes = b.gate.Held()
		return nil
	}
	r := httptest.NewRequest("POST", "/p", strings.NewReader("body"))
	r.ContentLength = -1
	b.ServeHTTP(httptest.NewRecorder(), r)
	if bytes != 4 {
		t.Errorf("%d bytes are held for a body of 4", bytes)
	}
}

type readCloser func([]byte) (int, error)

func (f readCloser) Read(p []byte) (int, error) { return f(p) }
func (readCloser) Close() error                 { return nil }

// A panic in what the adapter supplies leaves neither room taken nor a
// transaction open.
func TestPanicsAreCleanedUp(t *testing.T) {
	cases := map[string]struct {
		place func(*bench)
		state State
	}{
		"Ask": {func(b *bench) {
			b.route.Ask = func(context.Context, *Snapshot, *Document) (Ask, error) { panic("ask") }
		}, ""},
		"Wait": {func(b *bench) { b.client.wait = func(context.Context) error { panic("wait") } }, StateFailed},
		"SetHeaders": {func(b *bench) {
			b.route.Headers = []string{"X-A"}
			b.route.SetHeaders = func(http.Header, *Approval) { panic("headers") }
		}, StateFailed},
		"handler": {func(b *bench) { b.next = func(http.ResponseWriter, *http.Request) error { panic("next") } }, StateInDoubt},
		"handler later": {func(b *bench) {
			b.next = func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(200); panic("next") }
		}, StateInDoubt},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, answering(200, ""))
			c.place(b)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				b.do("POST", "/p", "body", nil)
			}()
			held, _ := b.gate.Held()
			if held != 0 {
				t.Errorf("%d are held", held)
			}
			if c.state != "" && b.only(t).State != c.state {
				t.Errorf("transaction is %+v", b.only(t))
			}
		})
	}
}

// Waiting costs no ticker and no goroutine beyond the request's own, and
// virtual hours pass without a change.
func TestLongHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &counting{}
		b := newBench(t, upstream.next)
		b.route.Hold = 24 * time.Hour
		b.client.wait = func(context.Context) error { time.Sleep(23 * time.Hour); return nil }
		answer := b.do("POST", "/p", "body", nil)
		if answer.Code != http.StatusCreated || upstream.count() != 1 {
			t.Errorf("status is %d", answer.Code)
		}
	})
}
