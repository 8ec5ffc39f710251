package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// memoryStore keeps tests from sharing a file.
const memoryStore = "\tciba {\n\t\tstore memory\n\t}"

// gateBlock is a gate with a message from the body.
func gateBlock(op *fakeOP, b *bank) string {
	return fmt.Sprintf(`
	@transfer {
		method POST PUT PATCH DELETE
		path /transfers*
	}
	ciba @transfer %s {
		customer {ciba.body.debtor.customer_id}
		message  "Pay {ciba.body.amount} {ciba.body.currency} to {ciba.body.creditor.name}"
		scope    payments
		acr      phr
		hold     20s
		limit    off
	}
	reverse_proxy %s`, op.URL, b.addr())
}

func TestApproved(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, gateBlock(op, b))

	got := s.post("/transfers", transfer)
	if got.err != nil || got.status != http.StatusCreated || got.body != "booked for Bearer token-of-alice" {
		t.Fatalf("got %+v", got)
	}
	b.wantCount(t, 1)
	if r := b.received()[0]; r.method != "POST" || r.target != "/transfers" || r.body != transfer {
		t.Errorf("the upstream got %+v", r)
	}
	form := op.started()[0].form
	if got := form.Get("binding_message"); len(got) < len("Pay 100.00 EUR to Bob") || got[:21] != "Pay 100.00 EUR to Bob" {
		t.Errorf("binding message %q", got)
	}
	if form.Get("login_hint") != "alice" || form.Get("scope") != "openid payments" || form.Get("acr_values") != "phr" {
		t.Errorf("request to the provider: %v", form)
	}
}

func TestPassThrough(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, gateBlock(op, b))
	got := s.do(http.MethodGet, "/accounts", "", nil)
	if got.err != nil || got.status != http.StatusCreated {
		t.Fatalf("got %+v", got)
	}
	if len(op.started()) != 0 {
		t.Error("somebody was asked for a request that needs no approval")
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(*fakeOP)
		body    string
		path    string
		status  int
		kind    string
	}{
		{"denied", func(op *fakeOP) { op.setDecision(deny) }, transfer, "/transfers", 403, "approval-denied"},
		{"expired", func(op *fakeOP) { op.setDecision(expire) }, transfer, "/transfers", 403, "approval-expired"},
		{"unknown customer", func(op *fakeOP) { op.refuseStart = "unknown_user_id" }, transfer, "/transfers", 403, "approval-unavailable"},
		{"client refused", func(op *fakeOP) { op.refuseStart = "unauthorized_client" }, transfer, "/transfers", 500, "gateway-misconfigured"},
		{"provider down", func(op *fakeOP) { op.down = true }, transfer, "/transfers", 503, "idp-unavailable"},
		{"another customer", func(op *fakeOP) {
			op.setDecision(approve)
			op.claims = func(c map[string]any) { c["sub"] = "mallory" }
		}, transfer, "/transfers", 403, "approval-mismatch"},
		{"weaker authentication", func(op *fakeOP) {
			op.setDecision(approve)
			op.claims = func(c map[string]any) { c["acr"] = "pwd" }
		}, transfer, "/transfers", 403, "approval-mismatch"},
		// threats.md C10: nobody is asked to approve a sentence with a hole in it.
		{"missing field", nil, `{"debtor":{"customer_id":"alice"},"currency":"EUR"}`, "/transfers", 422, "transaction-not-readable"},
		{"no JSON", nil, `amount=100`, "/transfers", 422, "transaction-not-readable"},
		{"body too large", nil, strings.Repeat(" ", 64<<10) + transfer, "/transfers", 413, "body-too-large"},
		{"name twice", nil, strings.Replace(transfer, `"amount"`, `"amount":"1.00","amount"`, 1), "/transfers", 422, "transaction-not-readable"},
		{"encoded slash", nil, transfer, "/transfers%2f1", 400, "noncanonical-target"},
		{"dot segments beside the matcher", nil, transfer, "/x/..%5ctransfers", 400, "noncanonical-target"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			op, b := newFakeOP(t), newBank(t)
			if tt.prepare != nil {
				tt.prepare(op)
			}
			s := startSite(t, memoryStore, gateBlock(op, b))
			got := s.post(tt.path, tt.body)
			got.wantProblem(t, tt.status, tt.kind, false)
			b.wantCount(t, 0)
			if tt.prepare == nil && len(op.started()) != 0 {
				t.Error("somebody was asked")
			}
		})
	}
}

func TestHoldOver(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n customer alice\n hold 2s\n}\nreverse_proxy %s", op.URL, b.addr()))
	begin := time.Now()
	got := s.post("/transfers", transfer)
	got.wantProblem(t, 403, "approval-expired", false)
	if took := time.Since(begin); took < 2*time.Second || took > time.Minute {
		t.Errorf("answered after %s", took)
	}
	b.wantCount(t, 0)
}

// The default customer is whoever the server has authenticated.
func TestNoIdentity(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s\nreverse_proxy %s", op.URL, b.addr()))
	got := s.post("/transfers", transfer)
	got.wantProblem(t, 401, "authentication-required", false)
	b.wantCount(t, 0)
}
