package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// An advisory is a mistake that a gateway of this family has made, and what ours
// does with the request that was its undoing.
type advisory struct {
	id     string
	method string // default: POST
	target string // default: /transfers
	host   string // default: that of the site
	header string // further lines, as they are sent
	body   string // default: a transfer

	status   int    // 403 if the customer was asked, who always denies
	upstream string // header of ours that must not have arrived, where one passes
}

// Advisories of gateways in this family (gateways.md section 5): none of these
// requests reaches the upstream unasked, or with a header that only we may set.
func TestAdvisories(t *testing.T) {
	const (
		asked  = http.StatusForbidden
		passed = http.StatusCreated
		bad    = http.StatusBadRequest
	)
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(deny)
	s := startSite(t, memoryStore+`
	servers {
		expected_underscore_headers X_Approved_By X_approved-By
		expected_dot_headers X.Approved.By X.approved_By
	}`, fmt.Sprintf(`
	@transfer {
		not method GET
		path /transfers*
	}
	ciba @transfer %s {
		customer {header.X-Customer}
		message  "Pay {ciba.body.amount}"
		header_up X-Approved-By {ciba.claims.sub}
		limit    off
	}
	reverse_proxy %s`, op.URL, b.addr()))
	const alice = "X-Customer: alice\r\n"
	tests := []advisory{
		{id: "CVE-2026-30851 a client's header survives", method: "GET", header: "X-Approved-By: me\r\n", status: passed, upstream: "X-Approved-By"},
		{id: "CVE-2026-52845 alias with an underscore", method: "GET", header: "X_Approved_By: me\r\n", status: passed, upstream: "X-Approved-By"},
		{id: "GHSA-49wc-4hcv-v58q alias with a dot", method: "GET", header: "X.Approved.By: me\r\n", status: passed, upstream: "X-Approved-By"},
		{id: "CVE-2025-64484 aliases in mixed case", method: "GET", header: "x_APPROVED-by: me\r\nX.approved_By: me\r\n", status: passed, upstream: "X-Approved-By"},
		{id: "CVE-2026-39858, GHSA-6384-m2mw-rf54 aliases of headers of a proxy", header: alice + "X_Original_URL: /health\r\n", status: asked},
		{id: "CVE-2026-40575 X-Forwarded-Uri chooses the rule", header: alice + "X-Forwarded-Uri: /health\r\nX-Forwarded-Method: GET\r\n", status: asked},
		{id: "CVE-2026-40575 X-Original-URL chooses the rule", header: alice + "X-Original-URL: /health\r\n", status: bad},
		{id: "GHSA-5hvv-m4w4-gf6v user agent of a health check", header: alice + "User-Agent: kube-probe/1.30\r\n", status: asked},
		{id: "GHSA-pxq7-h93f-9jrg fragment in the path", target: "/health#/../transfers", header: alice, status: bad},
		{id: "CVE-2021-32779 escaped fragment in the path", target: "/transfers%23x", header: alice, status: bad},
		{id: "CVE-2025-54576 query matched as a path", target: "/transfers?x=/health", header: alice, status: asked},
		{id: "CVE-2022-29226 any bearer token is taken for a user", header: "Authorization: Bearer forged\r\n", status: http.StatusUnauthorized},
		{id: "CVE-2021-32777, CVE-2021-39206, CVE-2020-25017 customer twice", header: alice + "X-Customer: mallory\r\n", status: asked},
		{id: "CVE-2021-32777 customer in a second spelling", header: alice + "X_Customer: mallory\r\n", status: asked},
		{id: "CVE-2021-32777 Authorization twice", header: alice + "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", status: bad},
		{id: "CVE-2021-32777 Idempotency-Key twice", header: alice + "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", status: bad},
		{id: "CVE-2021-32777 Content-Type twice", header: alice + "Content-Type: text/plain\r\n", status: bad},
		{id: "CVE-2023-27487 x-envoy-original-path", header: alice + "X-Envoy-Original-Path: /health\r\n", status: asked},
		{id: "CVE-2026-26205 two slashes", target: "//transfers", header: alice, status: bad},
		{id: "CVE-2026-26205 dot segment", target: "/./transfers", header: alice, status: bad},
		{id: "CVE-2026-33494 dot segments from a public path", target: "/public/../transfers", header: alice, status: bad},
		{id: "caddy 789f60e33 escaped dot segments", target: "/public/..%2ftransfers", header: alice, status: bad},
		{id: "caddy c6180a085 backslash", target: `/public\..\transfers`, header: alice, status: bad},
		{id: "CVE-2025-66490 escaped slash", target: "/x%2Ftransfers", header: alice, status: bad},
		{id: "CVE-2025-66490 escaped semicolon", target: "/transfers%3Ba", header: alice, status: bad},
		{id: "CVE-2025-66490 escaped backslash", target: "/x%5Ctransfers", header: alice, status: bad},
		{id: "CVE-2025-66490 escaped NUL", target: "/transfers%00", header: alice, status: bad},
		{id: "CVE-2026-48794 path in capitals", target: "/TRANSFERS", header: alice, status: asked},
		{id: "CVE-2021-32637 escape that is none", target: "/transfers%zz", header: alice, status: bad},
		{id: "CVE-2021-32792 markup in what is shown", header: alice, body: `{"amount":"</script><script>alert(1)</script>"}`, status: asked},
		{id: "CVE-2021-32792 line separator in what is shown", header: alice, body: `{"amount":"1\u2028"}`, status: http.StatusUnprocessableEntity},
		{id: "CVE-2025-3891 empty body", header: alice, body: " ", status: http.StatusUnprocessableEntity},
		{id: "GHSA-59jp-rwph-878r answer of the upstream beside ours", header: alice, status: asked},
		{id: "CVE-2024-21498, CVE-2024-21499 X-Forwarded-Host", header: alice + "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: javascript\r\n", status: asked},
		{id: "F4 Connection names the token", header: alice + "Connection: close, Authorization\r\n", status: bad},
	}
	for _, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			before := len(b.received())
			got := s.raw(tt.request(s))
			if got.err != nil || got.status != tt.status {
				t.Fatalf("got %+v, want status %d", got, tt.status)
			}
			if tt.status != passed {
				b.wantCount(t, before)
				if strings.Contains(got.body, "booked") || strings.Contains(got.body, "evil.example") {
					t.Errorf("the answer is %q", got.body)
				}
				return
			}
			b.wantCount(t, before+1)
			if values := folded(b.received()[before].header, tt.upstream); len(values) != 0 {
				t.Errorf("the upstream got %s %q", tt.upstream, values)
			}
		})
	}
}

func (a advisory) request(s *site) string {
	method, target, host, body := a.method, a.target, a.host, a.body
	if method == "" {
		method = "POST"
	}
	if target == "" {
		target = "/transfers"
	}
	if host == "" {
		host = s.addr
	}
	if body == "" {
		body = transfer
	}
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
		method, target, host, len(body), a.header, body)
}

// CVE-2023-33189, GHSA-6jwx-7vp4-9847: what is decided on is what is sent, also after
// the target was rewritten.
func TestRewrittenTarget(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("uri strip_prefix /api\nciba /transfers* %s {\n\tcustomer alice\n}\nreverse_proxy %s", op.URL, b.addr()))
	got := s.post("/api/transfers/a%20b?c=%2F", transfer)
	if got.err != nil || got.status != http.StatusCreated {
		t.Fatalf("got %+v", got)
	}
	b.wantCount(t, 1)
	if r := b.received()[0]; r.target != "/transfers/a%20b?c=%2F" {
		t.Errorf("the upstream got %s", r.target)
	}
	if message := op.started()[0].form.Get("binding_message"); !strings.Contains(message, "/transfers/a%20b") || strings.Contains(message, "/api") {
		t.Errorf("the customer was shown %q", message)
	}
}
