package stepup

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Design 3.1, step 5: a request that needs no approval goes on as it came, with
// the caller's own credentials, and without what only the gate may set.
func TestPass(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	b.route.Headers = []string{"X-Approved-By"}
	b.route.When = func(_ context.Context, _ *Snapshot, d *Document) (bool, error) {
		amount, err := d.Lookup("amount")
		return amount != "1", err
	}
	header := http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer mine"}, "X_approved_by": {"me"}, "X-Other": {"kept"},
	}
	answer := b.do("POST", "/p", `{"amount":1}`, header.Clone())
	if answer.Code != http.StatusCreated || upstream.count() != 1 || upstream.bodies[0] != `{"amount":1}` || b.client.asked() != 0 {
		t.Fatalf("status %d, asked %d times, upstream got %q", answer.Code, b.client.asked(), upstream.bodies)
	}
	if got := upstream.header; got.Get("Authorization") != "Bearer mine" || got.Get("X-Other") != "kept" || len(got["X_approved_by"]) != 0 {
		t.Errorf("the upstream got %v", got)
	}
	if len(b.all(t)) != 0 || !b.events.has(EventPassed) {
		t.Errorf("events %v", b.events.types())
	}

	answer = b.do("POST", "/p", `{"amount":2}`, header.Clone())
	if answer.Code != http.StatusCreated || b.client.asked() != 1 || upstream.header.Get("Authorization") != "Bearer "+testToken {
		t.Errorf("status %d, asked %d times, upstream got %v", answer.Code, b.client.asked(), upstream.header)
	}

	// An error of the handler behind is the handler's own.
	broken := errors.New("bad gateway")
	b.next = func(http.ResponseWriter, *http.Request) error { return broken }
	r := httptest.NewRequest("POST", "/p", strings.NewReader(`{"amount":1}`))
	r.Header = header.Clone()
	err := b.gate.Serve(httptest.NewRecorder(), r, b.route, b.next)
	if !errors.Is(err, broken) || errors.As(err, new(*Refusal)) {
		t.Errorf("error is %v", err)
	}
	b.next = upstream.next

	// What cannot be read is refused, not passed.
	answer = b.do("POST", "/p", `{"amount":1,"Amount":2}`, header.Clone())
	if answer.Code != http.StatusUnprocessableEntity || upstream.count() != 2 {
		t.Errorf("status %d", answer.Code)
	}
	b.route.When = func(context.Context, *Snapshot, *Document) (bool, error) { return false, errors.New("broken") }
	answer = b.do("POST", "/p", `{"amount":1}`, header.Clone())
	if answer.Code != http.StatusUnprocessableEntity || upstream.count() != 2 {
		t.Errorf("status %d", answer.Code)
	}
}

// A route that is tried out asks nobody and is in nobody's way, and says what it
// would have done.
func TestReportOnly(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	b.route.ReportOnly = true
	b.route.Headers = []string{"X-Approved-By"}
	b.route.MaxBody = 100
	b.route.Ask = func(_ context.Context, _ *Snapshot, d *Document) (Ask, error) {
		amount, err := d.Lookup("amount")
		return Ask{Customer: "alice", Caller: "teller", Message: "Pay " + amount}, err
	}
	cases := []struct {
		body    string
		header  http.Header
		problem Problem
	}{
		{`{"amount":1}`, http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer mine"}, "X-Approved-By": {"me"}}, ""},
		{`{"amount":1,"amount":2}`, http.Header{"Content-Type": {"application/json"}}, ProblemNotReadable},
		{`amount=1`, http.Header{"Content-Type": {"text/plain"}}, ProblemMediaType},
		{strings.Repeat("x", 101), nil, ProblemTooLarge},
		{`amount=1`, http.Header{"X-Http-Method-Override": {"PUT"}}, ProblemOverride},
		{``, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, ProblemUpgrade},
	}
	for i, c := range cases {
		answer := b.do("POST", "/p", c.body, c.header)
		if answer.Code != http.StatusCreated || upstream.count() != i+1 || upstream.bodies[i] != c.body {
			t.Errorf("%q: status %d, upstream got %q", c.body, answer.Code, upstream.bodies)
		}
		for name := range c.header {
			if got := upstream.header.Get(name); (got == "") != (name == "X-Approved-By") {
				t.Errorf("%q: the upstream got %s %q", c.body, name, got)
			}
		}
		e := b.events.list[len(b.events.list)-1]
		if e.Type != EventReported || e.Problem != c.problem || (e.Question == nil) != (c.problem != "") {
			t.Errorf("%q: event %+v", c.body, e)
		}
	}
	q := b.events.list[0].Question
	if !strings.HasPrefix(q.Message, "Pay 1 ") || q.Customer != Fingerprint("alice") || q.Caller != Fingerprint("teller") || len(q.Details) == 0 {
		t.Errorf("question %+v", q)
	}
	if b.client.asked() != 0 || len(b.all(t)) != 0 {
		t.Errorf("asked %d times", b.client.asked())
	}
	if used := b.gate.occupancy.now(); used != (usage{}) {
		t.Errorf("left: %+v", used)
	}
}
