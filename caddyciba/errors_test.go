package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Refusals go through the operator's error routes, and fall back to the problem
// document where these do not answer.
func TestHandleErrors(t *testing.T) {
	tests := []struct {
		name, routes string
		status       int
		contentType  string
		contains     string
	}{
		{
			name:     "placeholders",
			routes:   "handle_errors {\n\trespond `{http.error.status_code} {http.ciba.error} {http.ciba.state}` 418\n}",
			status:   418,
			contains: "403 approval-denied denied",
		},
		{
			name:        "status of the refusal by default",
			routes:      "handle_errors 403 {\n\theader Content-Type text/html\n\trespond `<h1>{http.ciba.title}</h1>`\n}",
			status:      403,
			contentType: "text/html",
			contains:    "<h1>The customer denied the request</h1>",
		},
		{
			// Caddy itself would answer with an empty body here.
			name:        "no route for this status",
			routes:      "handle_errors 404 502 {\n\trespond nope\n}",
			status:      403,
			contentType: "application/problem+json",
			contains:    `"forwarded":false`,
		},
		{
			name:        "route without a body",
			routes:      "handle_errors {\n\theader X-Seen yes\n}",
			status:      403,
			contentType: "application/problem+json",
			contains:    `"forwarded":false`,
		},
		{
			name:     "redirect has no body",
			routes:   "handle_errors {\n\tredir https://help.example.com/{http.ciba.error} 303\n}",
			status:   303,
			contains: "",
		},
		{
			// The matchers of error routes see what the caller has sent.
			name:     "original target",
			routes:   "uri replace /transfers /transfers/x\nhandle_errors {\n\t@orig path /transfers\n\trespond @orig \"orig {uri}\"\n\trespond \"changed {uri}\"\n}",
			status:   403,
			contains: "orig /transfers",
		},
		{
			name:     "failing route",
			routes:   "handle_errors {\n\terror 500\n}",
			status:   403,
			contains: `"forwarded":false`,
		},
	}
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(deny)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startSite(t, memoryStore, gateBlock(op, b)+"\n"+tt.routes)
			got := s.post("/transfers", transfer)
			if got.err != nil || got.status != tt.status || !strings.Contains(got.body, tt.contains) {
				t.Fatalf("got %d %q, %v; want %d with %q", got.status, got.body, got.err, tt.status, tt.contains)
			}
			if tt.contentType != "" && got.header.Get("Content-Type") != tt.contentType {
				t.Errorf("content type %q, want %q", got.header.Get("Content-Type"), tt.contentType)
			}
			if got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control = %q", got.header.Get("Cache-Control"))
			}
			b.wantCount(t, 0)
		})
	}
}

// The site's strict check goes through the error routes as well, and an error
// of the upstream's own is not mistaken for one of ours.
func TestHandleErrorsOfOthers(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	b.handle = func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "insufficient funds", http.StatusForbidden)
	}
	s := startSite(t, memoryStore, gateBlock(op, b)+"\nhandle_errors {\n\trespond \"ours: {http.ciba.error}\"\n}")

	got := s.post("/transfers", transfer)
	if got.status != http.StatusForbidden || got.body != "insufficient funds\n" {
		t.Errorf("the upstream's own answer became %d %q", got.status, got.body)
	}
	got = s.do(http.MethodGet, "/a%5cb", "", nil)
	if got.status != http.StatusBadRequest || got.body != "ours: noncanonical-target" {
		t.Errorf("strict target: %d %q", got.status, got.body)
	}
	b.wantCount(t, 1)
}

// An upstream that cannot be reached has seen nothing, and the answer says so.
func TestUpstreamUnreachable(t *testing.T) {
	op := newFakeOP(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n}\nreverse_proxy %s", op.URL, freeAddr(t)))
	s.post("/transfers", transfer).wantProblem(t, 502, "upstream-unreachable", false)
}
