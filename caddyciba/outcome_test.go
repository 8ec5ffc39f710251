package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Threat G19: reverse_proxy has tried nothing, and the caller is told so.
func TestNoUpstreamAvailable(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	closed := b.addr()
	b.Close()
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n}\nhandle /down {\n\treverse_proxy %s {\n\t\tfail_duration 5m\n\t}\n}\nreverse_proxy {header.X-To}", op.URL, closed))
	s.post("/down", transfer).wantProblem(t, http.StatusBadGateway, "upstream-unreachable", false)
	got := s.post("/down", strings.Replace(transfer, "100.00", "101.00", 1))
	got.wantProblem(t, http.StatusBadGateway, "upstream-unreachable", false)
	if got.problem(t)["state"] != "failed" {
		t.Errorf("got %+v", got)
	}
	got = s.do(http.MethodPost, "/range", transfer, http.Header{"Content-Type": {"application/json"}, "X-To": {"127.0.0.1:1-5"}})
	got.wantProblem(t, http.StatusBadGateway, "upstream-unreachable", false)
}

// A request that no handler takes is not carried out, whatever Caddy answers.
func TestNobodyBehindTheGate(t *testing.T) {
	op := newFakeOP(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n}\nheader X-Served-By gateway\nrespond /other 204", op.URL))
	got := s.post("/transfers", transfer)
	got.wantProblem(t, http.StatusInternalServerError, "gateway-misconfigured", false)
	if got.problem(t)["state"] != "failed" {
		t.Errorf("got %+v", got)
	}
	other := s.post("/other", transfer)
	if other.status != http.StatusNoContent {
		t.Errorf("got %+v", other)
	}
}

// The default message is shown in full or not at all, and the error routes know
// no more than callers may.
func TestLongPathIsRefused(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n}\nreverse_proxy %s\nhandle_errors {\n\trespond \"{err.message}\"\n}", op.URL, b.addr()))
	got := s.post("/"+strings.Repeat("a", 128), transfer)
	if got.status != http.StatusUnprocessableEntity || len(op.started()) != 0 {
		t.Errorf("got %+v", got)
	}
	if got.body == "" || strings.Contains(got.body, "transaction-not-readable") {
		t.Errorf("the error route says %q", got.body)
	}
}
