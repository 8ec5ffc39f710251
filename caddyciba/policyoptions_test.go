package caddyciba

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// whenBlock is a gate with a condition, behind which the caller's own credentials
// go on.
func whenBlock(op *fakeOP, b *bank, options string) string {
	return fmt.Sprintf(`
	ciba %s {
		customer {ciba.body.debtor.customer_id}
		message  "Pay {ciba.body.amount} {ciba.body.currency}"
		hold     60s
		%s
	}
	reverse_proxy %s`, op.URL, options, b.addr())
}

// Design 3.1, step 5.
func TestWhen(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, whenBlock(op, b, "when `!({ciba.body.amount} >= 0 && {ciba.body.amount} <= 1000 && {ciba.body.currency} == \"EUR\" && method == \"POST\" && path == \"/transfers\")`"))
	const mine = "Bearer mine"
	body := func(amount string) string {
		return strings.Replace(transfer, `"100.00"`, amount, 1)
	}
	for _, c := range []struct {
		name, target, body string
		status             int
		asked              bool
	}{
		{"small", "/transfers", body(`"1000.00"`), 201, false},
		{"small number", "/transfers", body(`1000.00`), 201, false},
		{"large", "/transfers", body(`"1000.01"`), 201, true},
		{"large number", "/transfers", body(`1000.01`), 201, true},
		{"negative", "/transfers", body(`"-5000"`), 201, true},
		{"currency", "/transfers", strings.Replace(body(`"1"`), "EUR", "USD", 1), 201, true},
		{"path", "/transfers/instant", body(`"1"`), 201, true},
		{"as in German", "/transfers", body(`"1.000,00"`), 201, true},
		{"not a number", "/transfers", body(`"a lot"`), 201, true},
		{"missing", "/transfers", `{"debtor":{"customer_id":"alice"},"currency":"EUR"}`, 422, false},
		{"twice", "/transfers", strings.Replace(transfer, `"amount"`, `"amount":"1","amount"`, 1), 422, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked, seen := len(op.started()), len(b.received())
			got := s.do("POST", c.target, c.body, http.Header{"Content-Type": {"application/json"}, "Authorization": {mine}})
			if got.err != nil || got.status != c.status {
				t.Fatalf("got %+v", got)
			}
			if (len(op.started()) > asked) != c.asked {
				t.Errorf("the customer was asked: %t", len(op.started()) > asked)
			}
			if c.status != 201 {
				b.wantCount(t, seen)
				return
			}
			b.wantCount(t, seen+1)
			r := b.received()[seen]
			if r.body != c.body || (r.header.Get("Authorization") == mine) == c.asked {
				t.Errorf("the upstream got %+v", r)
			}
		})
	}
}

// Design 3.1, step 9: the fields and the digest, as the provider's type has them.
func TestDetails(t *testing.T) {
	for _, supported := range []bool{true, false} {
		t.Run(fmt.Sprint(supported), func(t *testing.T) {
			op, b := newFakeOP(t), newBank(t)
			op.setDecision(approve)
			if supported {
				op.metadata = map[string]any{"authorization_details_types_supported": []string{"wire_transfer"}}
			}
			s := startSite(t, memoryStore, whenBlock(op, b, "details wire_transfer {\n\t\t\tamount {ciba.body.amount}\n\t\t\tcreditor \"{ciba.body.creditor.name} \\\"x\\\"\"\n\t\t}"))
			got := s.post("/transfers", transfer)
			if got.err != nil || got.status != 201 {
				t.Fatalf("got %+v", got)
			}
			sent := op.started()[0].form.Get("authorization_details")
			if !supported {
				if sent != "" {
					t.Errorf("sent %s", sent)
				}
				return
			}
			var list []map[string]string
			err := json.Unmarshal([]byte(sent), &list)
			if err != nil || len(list) != 1 {
				t.Fatalf("sent %s, %v", sent, err)
			}
			d := list[0]
			if d["type"] != "wire_transfer" || d["amount"] != "100.00" || d["creditor"] != `Bob "x"` || len(d["request_digest"]) != 43 || len(d) != 4 {
				t.Errorf("sent %s", sent)
			}
			// The answer must be about this very request.
			op.mu.Lock()
			op.granted = sent
			op.mu.Unlock()
			got = s.post("/transfers", strings.Replace(transfer, "100.00", "200.00", 1))
			got.wantProblem(t, 403, "approval-mismatch", false)
			b.wantCount(t, 1)
		})
	}
}

// Threats T4, G21: limits come before the prompt, with the time to wait.
func TestLimitPerCustomer(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, whenBlock(op, b, "limit 2 per customer per 1h"))
	for i, want := range []int{201, 201, 429} {
		got := s.post("/transfers", transfer)
		if got.status != want {
			t.Fatalf("request %d: %+v", i, got)
		}
		if want == 429 {
			got.wantProblem(t, 429, "too-many-prompts", false)
			if got.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if got := s.post("/transfers", strings.Replace(transfer, "alice", "bob", 1)); got.status != 201 {
		t.Errorf("another customer: %+v", got)
	}
	b.wantCount(t, 3)
	if n := len(op.started()); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// Gates of one provider count together, whether they name it or its issuer.
func TestLimitOfSeveralGates(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	gate := func(path, provider string) string {
		return fmt.Sprintf("ciba %s %s {\n\tcustomer alice\n\tmessage Pay\n\tlimit 1 per customer per 1h\n}\n", path, provider)
	}
	s := startSite(t, fmt.Sprintf("\tciba {\n\t\tstore memory\n\t\tprovider corp {\n\t\t\tissuer %s\n\t\t}\n\t}", op.URL),
		gate("/a*", "corp")+gate("/b*", op.URL)+"reverse_proxy "+b.addr())
	if got := s.post("/a", transfer); got.status != 201 {
		t.Fatalf("got %+v", got)
	}
	s.post("/b", transfer).wantProblem(t, 429, "too-many-prompts", false)
}

// By default, nobody can go on asking somebody who says no.
func TestBackOffByDefault(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(deny)
	s := startSite(t, memoryStore, whenBlock(op, b, ""))
	s.post("/transfers", transfer).wantProblem(t, 403, "approval-denied", false)
	got := s.post("/transfers", transfer)
	got.wantProblem(t, 429, "too-many-prompts", false)
	if after := got.header.Get("Retry-After"); after != "60" && after != "59" {
		t.Errorf("Retry-After %q", after)
	}
	err := s.load(whenBlock(op, b, "limit off"))
	if err != nil {
		t.Fatal(err)
	}
	s.post("/transfers", transfer).wantProblem(t, 403, "approval-denied", false)
	b.wantCount(t, 0)
}

// A gate that is tried out is in nobody's way.
func TestReportOnly(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, whenBlock(op, b, "report_only\n\t\theader_up X-Approved-By {ciba.claims.sub}"))
	for i, body := range []string{transfer, `{"amount":1,"amount":2}`, strings.Repeat(" ", 70<<10) + transfer} {
		got := s.do("POST", "/transfers", body, http.Header{
			"Content-Type": {"application/json"}, "Authorization": {"Bearer mine"}, "X-Approved-By": {"me"},
		})
		if got.err != nil || got.status != 201 || got.body != "booked for Bearer mine" {
			t.Fatalf("request %d: %+v", i, got)
		}
		if r := b.received()[i]; r.body != body || r.header.Get("X-Approved-By") != "" {
			t.Errorf("the upstream got %d bytes, %v", len(r.body), r.header)
		}
	}
	if n := len(op.started()); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

func TestPromptLimits(t *testing.T) {
	for _, h := range []Handler{
		{NoLimits: true, Limits: []Limit{{Per: "customer", Count: 1}}},
		{Limits: []Limit{{Per: "all", Count: 1}}}, {Limits: []Limit{{Per: "caller"}}},
	} {
		_, err := h.promptLimits()
		if err == nil {
			t.Errorf("%+v is taken", h.Limits)
		}
	}
	limits, err := (&Handler{Limits: []Limit{{Per: "customer", Count: 7}}}).promptLimits()
	if err != nil || len(limits) != 2 || limits[0].Count != 7 || limits[1].Per != "caller" {
		t.Errorf("limits %+v, %v", limits, err)
	}
}

// A subscriber of IPv6 has 2^64 addresses and counts as one caller.
func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "@": "@",
	} {
		if got := network(address); got != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
}
