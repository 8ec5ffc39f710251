package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// outcome is a row of the table of design section 3.4: what is sent, what the
// customer does, what the caller gets, and how often the upstream was reached.
type outcome struct {
	name     string
	request  request
	decision string // approve, deny, or empty: the customer is not asked or does nothing
	status   int
	problem  string // the last part of the problem's type; empty for the upstream's own answer
	forward  any    // what the problem says of the upstream: false, true or "unknown"
	retry    bool   // a Retry-After is due
	count    int    // requests that reached the upstream
}

const alice = "alice"

// ask is a POST in alice's name.
func ask(target string) request {
	return request{method: "POST", target: target, body: `{"amount": 1}`, header: http.Header{"Customer": {alice}, "Content-Type": {"application/json"}}}
}

// as is a request in another's name.
func as(customer string, r request) request {
	r.header = r.header.Clone()
	r.header.Set("Customer", customer)
	return r
}

// method is the same request without a body, by another method.
func method(name string, r request) request {
	r.method, r.body = name, ""
	r.header = r.header.Clone()
	r.header.Del("Content-Type")
	return r
}

// payment is a POST whose body names customer and amount.
func payment(body string) request {
	r := ask("/payment/do/book")
	r.body = body
	return r
}

const goodPayment = `{"debtor":{"customer_id":"alice"},"amount":7.50}`

func outcomes() []outcome {
	return []outcome{
		{name: "approved and answered", request: ask("/held/do/book"), decision: decisionApprove, status: 201, count: 1},
		{name: "approved, the upstream says 404", request: ask("/held/do/missing"), decision: decisionApprove, status: 404, count: 1},
		{name: "approved, the upstream says 401", request: ask("/held/do/unauthorized"), decision: decisionApprove, status: 401, count: 1},
		{name: "approved, the upstream says 500", request: ask("/held/do/broken"), decision: decisionApprove, status: 500, count: 1},
		{name: "approved DELETE", request: method("DELETE", ask("/held/do/book")), decision: decisionApprove, status: 201, count: 1},
		{name: "approved GET", request: method("GET", ask("/held/do/book")), decision: decisionApprove, status: 201, count: 1},
		{name: "approved by a field of the body", request: payment(goodPayment), decision: decisionApprove, status: 201, count: 1},
		{name: "denied", request: ask("/held/do/book"), decision: decisionDeny, status: 403, problem: "approval-denied", forward: false},
		{name: "hold over", request: ask("/short/do/book"), status: 403, problem: "approval-expired", forward: false},
		{name: "customer unknown", request: as("nobody", ask("/held/do/book")), status: 403, problem: "approval-unavailable", forward: false},
		{name: "caller has no identity", request: ask("/anonymous/do/book"), status: 401, forward: false},
		{name: "token about another customer", request: ask("/liar/do/book"), status: 403, problem: "approval-mismatch", forward: false},
		{name: "token for another client", request: as("c0", ask("/liar/do/book")), status: 403, problem: "approval-mismatch", forward: false},
		{name: "provider down", request: ask("/down/do/book"), status: 503, problem: "idp-unavailable", forward: false, retry: true},
		{name: "our client refused", request: ask("/locked-out/do/book"), status: 500, problem: "gateway-misconfigured", forward: false},
		{name: "upstream unreachable", request: ask("/gone/do/book"), decision: decisionApprove, status: 502, problem: "upstream-unreachable", forward: false, retry: true},
		{name: "upstream resets", request: ask("/held/do/reset"), decision: decisionApprove, status: 502, problem: "outcome-unknown", forward: "unknown", count: 1},
		{name: "upstream closes", request: ask("/held/do/close"), decision: decisionApprove, status: 502, problem: "outcome-unknown", forward: "unknown", count: 1},
		{name: "upstream answers nonsense", request: ask("/held/do/nonsense"), decision: decisionApprove, status: 502, problem: "outcome-unknown", forward: "unknown", count: 1},
		{name: "upstream too slow", request: ask("/late/do/hang"), decision: decisionApprove, status: 504, problem: "outcome-unknown", forward: "unknown", count: 1},
		{name: "upstream resets behind retries", request: ask("/retry/do/reset"), decision: decisionApprove, status: 502, problem: "outcome-unknown", forward: "unknown", count: 1},
		{name: "body too large", request: payment(goodPayment + strings.Repeat(" ", 1024)), status: 413, forward: false},
		{name: "not JSON", request: payment("amount=7.50"), status: 422, problem: "transaction-not-readable", forward: false},
		{name: "a field twice", request: payment(`{"debtor":{"customer_id":"alice"},"amount":7.50,"amount":9}`), status: 422, problem: "transaction-not-readable", forward: false},
		{name: "a field missing", request: payment(`{"debtor":{"customer_id":"alice"}}`), status: 422, problem: "transaction-not-readable", forward: false},
		{name: "path not canonical", request: ask("/held/x/../do/book"), status: 400, forward: false},
	}
}

// TestOutcomes goes through the table of design section 3.4 in hold mode.
func TestOutcomes(t *testing.T) {
	w := newWorld(t)
	for protocol, client := range protocols() {
		for i, o := range outcomes() {
			n := fmt.Sprintf("%s%02d", protocol, i)
			t.Run(protocol+"/"+o.name, func(t *testing.T) {
				t.Parallel()
				w.check(t, client, o, n)
			})
		}
	}
}

// check plays one row. The number n tells its requests from those of others.
func (w *world) check(t *testing.T, client *http.Client, o outcome, n string) {
	ctx, cancel := context.WithTimeout(t.Context(), scenarioTime)
	defer cancel()
	o.request.target += "?n=" + n
	h := w.send(ctx, client, o.request)
	if o.decision != "" {
		w.decide(t, message(o.request.target, n), o.decision)
	}
	a, err := h.wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != o.status {
		t.Errorf("status %d, want %d: %s", a.status, o.status, a.body)
	}
	arrived := w.upstream.arrivals("?n=" + n)
	if len(arrived) != o.count {
		t.Errorf("the upstream was reached %d times, want %d", len(arrived), o.count)
	}
	if o.forward == nil {
		checkUpstreamsOwn(t, o, a, arrived)
		return
	}
	checkProblem(t, o, a)
}

// message is what the customer is asked for a request to the target.
func message(target, n string) string {
	if strings.HasPrefix(target, "/payment/") {
		return "Pay 7.50 for " + n
	}
	return "Do " + n
}

// checkUpstreamsOwn finds out whether the caller got the upstream's answer, and
// the upstream the caller's request with the customer's token.
func checkUpstreamsOwn(t *testing.T, o outcome, a *answer, arrived []arrival) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "text/x-legacy; charset=latin1" {
		t.Errorf("Content-Type %q is not the upstream's", got)
	}
	if got := a.header.Values("X-Legacy"); len(got) != 2 {
		t.Errorf("X-Legacy %q is not the upstream's", got)
	}
	if len(arrived) == 0 {
		return
	}
	got := arrived[0]
	if got.method != o.request.method || got.body != o.request.body || got.target != o.request.target {
		t.Errorf("the upstream received %s %s %q, the caller sent %s %s %q",
			got.method, got.target, got.body, o.request.method, o.request.target, o.request.body)
	}
	if !strings.HasPrefix(got.header.Get("Authorization"), "Bearer ey") {
		t.Error("the upstream received no access token")
	}
	// Go's transport would ask for gzip by itself and unpack the answer.
	if encoding := got.header.Get("Accept-Encoding"); encoding != "" && encoding != "identity" {
		t.Errorf("the upstream was asked for the encoding %s, which the caller did not ask for", encoding)
	}
}

// checkProblem finds out whether an answer of the gateway's own says what it must.
func checkProblem(t *testing.T, o outcome, a *answer) {
	t.Helper()
	name, p, err := a.problem()
	if err != nil {
		t.Fatal(err)
	}
	if o.problem != "" && name != o.problem {
		t.Errorf("problem type %s, want %s", p.Type, o.problem)
	}
	if p.Status != o.status {
		t.Errorf("the problem says status %d, the answer %d", p.Status, o.status)
	}
	if p.Forwarded != o.forward {
		t.Errorf("forwarded is %v, want %v", p.Forwarded, o.forward)
	}
	if p.Title == "" || p.Detail == "" {
		t.Errorf("the problem explains nothing: %s", a.body)
	}
	if got := a.header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
	// Where the outcome is unknown or the customer said no, nothing may invite a
	// program to try again.
	if got := a.header.Get("Retry-After"); (got != "") != o.retry {
		t.Errorf("Retry-After is %q, due: %t", got, o.retry)
	}
	if o.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate (RFC 9110 section 15.5.2)")
	}
}
