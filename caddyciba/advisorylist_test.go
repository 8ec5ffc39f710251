package caddyciba

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// Every advisory of the family has its test, which is there, and those that
// TestAdvisories is to show are rows of it.
func TestAdvisoriesAreComplete(t *testing.T) {
	source, err := os.ReadFile("advisories_test.go")
	if err != nil {
		t.Fatal(err)
	}
	ids := namedTests(t, "advisories.txt")
	if len(ids) < 45 {
		t.Errorf("only %d advisories", len(ids))
	}
	for id, tests := range ids {
		for _, test := range tests {
			if test == "TestAdvisories" && !regexp.MustCompile(`\{id: "[^"]*`+regexp.QuoteMeta(id)).Match(source) {
				t.Errorf("TestAdvisories has no row for %s", id)
			}
		}
	}
}

// GHSA-f24x-5g9q-753f: a waiting page has a cookie of its own for each transaction,
// and one that somebody else has planted opens nothing and is not taken over.
func TestCookieOfEachTransaction(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n\tlimit off\n}\nreverse_proxy %s", op.URL, b.addr()))
	begin := func(body, planted string) (location, cookie string) {
		t.Helper()
		got := s.do(http.MethodPost, "/transfers", body, http.Header{
			"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Content-Type": {"application/json"}, "Cookie": {planted},
		})
		cookie, attributes, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
		if got.status != http.StatusSeeOther || !strings.Contains(attributes, "Secure") || !strings.Contains(attributes, "HttpOnly") {
			t.Fatalf("got %+v", got)
		}
		return got.header.Get("Location"), cookie
	}
	see := func(location, cookie string) int {
		return s.do(http.MethodGet, location, "", http.Header{"Cookie": {cookie}}).status
	}
	first, opens := begin(`{"n":1}`, "")
	name, _, _ := strings.Cut(opens, "=")
	second, other := begin(`{"n":2}`, name+"=planted; "+opens)
	if otherName, _, _ := strings.Cut(other, "="); otherName == name || strings.Contains(other, "planted") {
		t.Errorf("cookies %s and %s", opens, other)
	}
	for what, got := range map[string]int{
		"own cookie":         see(first, opens) - 200,
		"other's cookie":     see(first, other) - 404,
		"planted cookie":     see(first, name+"=planted") - 404,
		"other way round":    see(second, opens) - 404,
		"both":               see(second, opens+"; "+other) - 200,
		"planted and own":    see(first, name+"=planted; "+opens) - 200,
		"value of the other": see(second, strings.Replace(other, "=", "=x", 1)) - 404,
	} {
		if got != 0 {
			t.Errorf("%s: status differs by %d", what, got)
		}
	}
	b.wantCount(t, 0)
}

// CVE-2024-39315: neither the customer's token nor the auth_req_id is in what callers,
// operators and logs get to see of a transaction.
func TestTokenIsShownToNobody(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	b.handle = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	log := filepath.Join(t.TempDir(), "caddy.log")
	s := newSite(t, "\tciba {\n\t\tstore memory "+t.Name()+"\n\t}")
	build := s.build
	s.build = func(body string) string {
		return strings.Replace(build(body), "level ERROR", "level DEBUG\n\t\toutput file "+log, 1)
	}
	err := s.load("log\n" + gateBlock(op, b))
	if err != nil {
		t.Fatal(err)
	}
	location := s.async("/transfers", transfer, nil)
	op.waitStarted(1)
	html := http.Header{"Accept": {"text/html"}}
	var shown []string
	look := func(path string, header http.Header) {
		got := s.do(http.MethodGet, path, "", header)
		shown = append(shown, got.body, fmt.Sprint(got.header))
	}
	look(location, nil)
	look(location, html)
	op.setDecision(approve)
	if status := s.ended(location, nil); status.State != stepup.StateAnswered {
		t.Fatalf("status is %+v", status)
	}
	look(location, nil)
	look(location, html)
	look(location+"/result", nil)
	var list []map[string]any
	s.ask("GET", "transactions?state=answered", "", &list)
	if len(list) != 1 {
		t.Fatalf("transactions %v", list)
	}
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	shown = append(shown, fmt.Sprint(list), string(content))
	for _, secret := range []string{"token-of-alice", op.started()[0].id, testClientSecret} {
		for _, text := range shown {
			if strings.Contains(text, secret) {
				t.Errorf("%s is in %s", secret, text)
			}
		}
	}
	if got := b.received()[0].header.Get("Authorization"); got != "Bearer token-of-alice" {
		t.Errorf("the upstream got %q: this shows nothing", got)
	}
}

// CVE-2021-41230: an approval is good for its request alone, and what the customer may
// do now is asked for each time.
func TestApprovalIsGoodOnce(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n\tacr phr\n\tlimit off\n}\nreverse_proxy %s", op.URL, b.addr()))
	if got := s.post("/transfers", transfer); got.status != http.StatusCreated {
		t.Fatalf("got %+v", got)
	}
	op.mu.Lock()
	op.claims = func(claims map[string]any) { claims["acr"] = "pwd" }
	op.mu.Unlock()
	s.post("/transfers", transfer).wantProblem(t, 403, "approval-mismatch", false)
	op.setDecision(deny)
	s.post("/transfers", transfer).wantProblem(t, 403, "approval-denied", false)
	b.wantCount(t, 1)
	if n := len(op.started()); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// GHSA-5hvv-m4w4-gf6v: what is there for health checks is no way around the gate: it is
// one path, in one spelling, by GET, and nothing of it goes on.
func TestReadyIsNoWayAround(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(deny)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba_ready\nciba %s {\n\tcustomer alice\n\tmessage Transfer\n\tlimit off\n}\nreverse_proxy %s", op.URL, b.addr()))
	for request, want := range map[string]int{
		"GET /.ciba/ready": 200, "POST /.ciba/ready": 405, "GET /transfers?/.ciba/ready": 403,
		"POST /transfers": 403, "GET /transfers/.ciba/ready": 403, "GET /.ciba/ready/../../transfers": 400, "GET /.ciba/ready;/transfers": 400,
	} {
		method, path, _ := strings.Cut(request, " ")
		got := s.raw(advisory{method: method, target: path, header: "User-Agent: kube-probe/1.30\r\n"}.request(s))
		if got.status != want {
			t.Errorf("%s: %+v, want %d", request, got, want)
		}
	}
	b.wantCount(t, 0)
}
