package stepup

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// denies is a customer who says no.
func denies(context.Context) error {
	return &ciba.Error{Op: "wait", Code: ciba.CodeAccessDenied}
}

// limited is a bench with a clock of its own whose customers are named by the
// path, and callers by a header.
func limited(t *testing.T, limits ...PromptLimit) (*bench, *clock) {
	t.Helper()
	c := newClock()
	b := newBench(t, answering(http.StatusCreated, ""), func(cfg *Config) { cfg.Now = c.Now })
	b.route.Prompts = limits
	b.route.Ask = func(_ context.Context, s *Snapshot, _ *Document) (Ask, error) {
		return Ask{Customer: s.Target()[1:], Caller: s.Header().Get("X-Caller"), Message: "Pay"}, nil
	}
	return b, c
}

func (b *bench) ask(customer, caller string) int {
	return b.do("POST", "/"+customer, "", http.Header{"X-Caller": {caller}}).Code
}

// Threats T4, G21: no more prompts than the limit, before anybody is asked, and
// the caller is told when to come back. gateways.md section 5, #271 caddy-security:
// starting anew does not reset the count.
func TestPromptsPerWindow(t *testing.T) {
	b, c := limited(t, PromptLimit{Per: PerCustomer, Count: 2, Window: time.Minute})
	for i, want := range []int{201, 201, 429, 429} {
		if got := b.ask("alice", fmt.Sprint("caller", i)); got != want {
			t.Errorf("request %d: status %d, want %d", i, got, want)
		}
		c.advance(time.Second)
	}
	f := b.lastRefusal()
	if f.Problem != ProblemTooManyPrompts || f.RetryAfter < 50*time.Second || f.RetryAfter > time.Minute {
		t.Errorf("refusal %v, retry after %s", f, f.RetryAfter)
	}
	if b.client.asked() != 2 {
		t.Errorf("asked %d times", b.client.asked())
	}
	// Others are not concerned.
	if got := b.ask("bob", "caller0"); got != 201 {
		t.Errorf("another customer: status %d", got)
	}
	c.advance(f.RetryAfter)
	for i, want := range []int{201, 201, 429} {
		if got := b.ask("alice", "caller"); got != want {
			t.Errorf("later, request %d: status %d, want %d", i, got, want)
		}
	}
}

// A caller over its own limit does not use up what the customer bears.
func TestPromptsPerCaller(t *testing.T) {
	b, _ := limited(t, PromptLimit{Per: PerCaller, Count: 1, Window: time.Hour}, PromptLimit{Per: PerCustomer, Count: 2, Window: time.Hour})
	for _, c := range []struct {
		customer, caller string
		want             int
	}{{"alice", "a", 201}, {"alice", "a", 429}, {"alice", "a", 429}, {"alice", "b", 201}, {"alice", "c", 429}, {"bob", "a", 429}} {
		if got := b.ask(c.customer, c.caller); got != c.want {
			t.Errorf("%+v: status %d", c, got)
		}
	}
}

// Invariant INV-13, G21: of many requests at once on two nodes, as many wait as
// may, and one that has ended makes room for another.
func TestPromptsAtOneTime(t *testing.T) {
	b, c := limited(t, PromptLimit{Per: PerCustomer, Count: 3})
	other := newBench(t, b.next, func(cfg *Config) { cfg.Store = b.store; cfg.Now = c.Now })
	other.route = b.route
	release := make(chan struct{})
	wait := func(ctx context.Context) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.client.wait, other.client.wait = wait, wait
	const n = 32
	codes := make(chan int, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			from := []*bench{b, other}[i%2]
			codes <- from.do("POST", "/alice", fmt.Sprint(i), http.Header{"X-Caller": {"a"}}).Code
		})
	}
	for range n - 3 {
		if got := <-codes; got != 429 {
			t.Errorf("status %d", got)
		}
	}
	if asked := b.client.asked() + other.client.asked(); asked != 3 {
		t.Errorf("asked %d times", asked)
	}
	close(release)
	group.Wait()
	for range 3 {
		if got := <-codes; got != 201 {
			t.Errorf("status %d", got)
		}
	}
	if got := b.ask("alice", "a"); got != 201 {
		t.Errorf("afterwards: status %d", got)
	}
}

// What a dead process has left does not count for ever.
func TestPromptsOfTheDead(t *testing.T) {
	b, c := limited(t, PromptLimit{Per: PerCustomer, Count: 1})
	id := promptID("transfer", "customer", "alice")
	err := b.gate.journal.changePrompts(t.Context(), id, func(a *asked, now time.Time) error {
		return a.count("dead", b.route.Prompts, now, time.Minute)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.ask("alice", "a"); got != 429 {
		t.Errorf("status %d", got)
	}
	c.advance(time.Minute)
	if got := b.ask("alice", "a"); got != 201 {
		t.Errorf("later: status %d", got)
	}
}

// Threats T4: after a denial the same caller waits longer each time, and others
// are not punished for it.
func TestBackOff(t *testing.T) {
	b, c := limited(t)
	b.route.BackOff = true
	b.client.wait = denies
	for i, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if got := b.ask("alice", "a"); got != 403 {
			t.Fatalf("request %d: status %d", i, got)
		}
		if got := b.ask("alice", "a"); got != 429 || b.lastRefusal().RetryAfter != wait*time.Minute {
			t.Fatalf("request %d at once: status %d, retry after %s", i, got, b.lastRefusal().RetryAfter)
		}
		c.advance(wait * time.Minute)
	}
	if got := b.ask("alice", "b"); got != 403 {
		t.Errorf("another caller: status %d", got)
	}
	// An approval ends it.
	c.advance(time.Hour)
	b.client.wait = nil
	if got := b.ask("alice", "a"); got != 201 {
		t.Fatalf("status %d", got)
	}
	b.client.wait = denies
	if got := b.ask("alice", "a"); got != 403 {
		t.Fatalf("status %d", got)
	}
	if got := b.ask("alice", "a"); got != 429 || b.lastRefusal().RetryAfter != time.Minute {
		t.Errorf("status %d, retry after %s", got, b.lastRefusal().RetryAfter)
	}
}

func TestPromptLimitCheck(t *testing.T) {
	for _, bad := range []PromptLimit{
		{}, {Per: "all", Count: 1}, {Per: PerCaller}, {Per: PerCaller, Count: -1}, {Per: PerCaller, Count: MaxPrompts + 1},
		{Per: PerCustomer, Count: 1, Window: -1}, {Per: PerCustomer, Count: 1, Window: MaxPromptWindow + 1},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// One caller's bodies do not fill the room of all: its share is checked before a
// byte of the body is read.
func TestCallerCountsBeforeItsBody(t *testing.T) {
	b := newBench(t, answering(http.StatusCreated, ""), func(cfg *Config) { cfg.Limits.HeldBytesPerCaller = 10 })
	b.route.Caller = func(context.Context) string { return "teller" }
	answer := b.do("POST", "/p", "01234567890", nil)
	if answer.Code != http.StatusTooManyRequests || b.lastRefusal().Problem != ProblemTooManyHeld {
		t.Errorf("status %d", answer.Code)
	}
	answer = b.do("POST", "/p", "0123456789", nil)
	if answer.Code != http.StatusCreated {
		t.Errorf("status %d", answer.Code)
	}
	if used := b.gate.occupancy.now(); used != (usage{}) || len(b.gate.occupancy.callers) != 0 {
		t.Errorf("left: %+v", used)
	}
}
