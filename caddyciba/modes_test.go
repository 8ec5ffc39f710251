package caddyciba

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// async sends a transfer that is to be answered by 202 and returns its address.
func (s *site) async(path, body string, header http.Header) string {
	s.t.Helper()
	all := http.Header{"Content-Type": {"application/json"}, "Prefer": {"respond-async"}}
	for name, values := range header {
		all[name] = values
	}
	got := s.do(http.MethodPost, path, body, all)
	if got.err != nil || got.status != http.StatusAccepted || got.header.Get("Location") == "" {
		s.t.Fatalf("got %+v, want 202", got)
	}
	return got.header.Get("Location")
}

// status reads what has become of a transaction.
func (s *site) status(location string, header http.Header) stepup.Status {
	s.t.Helper()
	var status stepup.Status
	got := s.do(http.MethodGet, location, "", header)
	err := json.Unmarshal([]byte(got.body), &status)
	if got.status != http.StatusOK || err != nil {
		s.t.Fatalf("status is %+v, %v", got, err)
	}
	return status
}

// ended waits for the end of a transaction.
func (s *site) ended(location string, header http.Header) stepup.Status {
	s.t.Helper()
	return s.endedWithin(20*time.Second, location, header)
}

func (s *site) endedWithin(patience time.Duration, location string, header http.Header) stepup.Status {
	s.t.Helper()
	var status stepup.Status
	patient := http.Header{"Prefer": {"wait=2"}}
	maps.Copy(patient, header)
	within(s.t, patience, "the end of the transaction", func() bool {
		// A connection may end with the server of an old configuration.
		got := s.do(http.MethodGet, location, "", patient)
		err := json.Unmarshal([]byte(got.body), &status)
		return got.err == nil && got.status == http.StatusOK && err == nil && status.State.Final()
	})
	return status
}

// An async request goes to the upstream by the operator's own routes, with the
// placeholders of its own request, after its caller has long been answered.
func TestAsync(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, strings.Replace(gateBlock(op, b),
		"reverse_proxy "+b.addr(), "vars tenant {header.X-Tenant}\nreverse_proxy "+b.addr()+" {\n\theader_up X-Up {vars.tenant}-{http.request.method}-{http.ciba.transaction}\n}", 1))
	location := s.async("/transfers?x=1", transfer, http.Header{"X-Tenant": {"t1"}})
	op.waitStarted(1)
	status := s.status(location, nil)
	if status.State != stepup.StateRequested || !strings.HasPrefix(status.Message, "Pay 100.00 EUR to Bob") {
		t.Errorf("status is %+v", status)
	}
	b.wantCount(t, 0)
	op.setDecision(approve)
	status = s.ended(location, nil)
	if status.State != stepup.StateAnswered || status.ResultURL == nil {
		t.Fatalf("status is %+v", status)
	}
	got := s.do(http.MethodGet, *status.ResultURL, "", nil)
	if got.status != http.StatusCreated || got.body != "booked for Bearer token-of-alice" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("result is %+v", got)
	}
	b.wantCount(t, 1)
	seen := b.received()[0]
	if seen.body != transfer || seen.target != "/transfers?x=1" || seen.header.Get("X-Up") != "t1-POST-"+status.ID || seen.header.Get("X-Forwarded-For") == "" {
		t.Errorf("the upstream got %+v", seen)
	}
}

// boltStore is a store that a later configuration finds again.
func boltStore(t *testing.T) string {
	return "\tciba {\n\t\tstore bolt " + t.TempDir() + "/ciba.db\n\t}"
}

// What waits when Caddy stops goes on when it starts again, through the routes
// that it came by, authentication among them, and is sent once.
func TestAsyncAcrossRestart(t *testing.T) {
	const auth = `
	basic_auth {
		teller $2a$04$8HU6/g6GGDLnD4GPHUz7cOBby73eqUQU6/PbSYfSDaGKbCzmfk0f6
	}
	uri strip_prefix /v1`
	tests := []struct {
		name   string
		change func(string) string
		decide fakeDecision
		state  stepup.State
		sent   int
		asked  int // who the caller is, by forward_auth
	}{
		{name: "approved", decide: approve, state: stepup.StateAnswered, sent: 1},
		{name: "denied", decide: deny, state: stepup.StateDenied},
		{name: "forward_auth", decide: approve, state: stepup.StateAnswered, sent: 1, asked: 2},
		{name: "gate removed", decide: approve, state: stepup.StateFailed, change: func(body string) string {
			return strings.Replace(body, "path /transfers*", "path /nowhere", 1)
		}},
		{name: "password changed", decide: approve, state: stepup.StateFailed, change: func(body string) string {
			return strings.Replace(body, "$2a$04$8HU6/g6GGDLnD4GPHUz7cOBby73eqUQU6/PbSYfSDaGKbCzmfk0f6", "$2a$04$hWznEXgHIs1.I17JDSGK4eMoaL5eiFiPl4jJ5tHXqtAB3VLggGfu2", 1)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			op, b, who := newFakeOP(t), newBank(t), newBank(t)
			body := auth + strings.Replace(gateBlock(op, b), "customer {ciba.body.debtor.customer_id}", "customer alice", 1)
			if tt.asked > 0 {
				body = fmt.Sprintf("forward_auth %s {\n\turi /who\n}\n", who.addr()) + body
			}
			s := startSite(t, boltStore(t), body)
			credential := http.Header{"Authorization": {"Basic dGVsbGVyOnNlY3JldA=="}}
			location := s.async("/v1/transfers?x=1", transfer, credential)
			op.waitStarted(1)
			err := caddy.Stop()
			if err != nil {
				t.Fatal(err)
			}
			op.setDecision(tt.decide)
			changed := body
			if tt.change != nil {
				changed = tt.change(body)
			}
			err = s.load(changed)
			if err != nil {
				t.Fatal(err)
			}
			var state stepup.State
			eventually(t, "the end of the transaction", func() bool {
				for _, engine := range allEngines() {
					list, err := engine.Journal().List(t.Context(), tt.state, "", 10)
					if err == nil && len(list) == 1 {
						state = list[0].State
					}
				}
				return state.Final()
			})
			if tt.change == nil {
				if status := s.status(location, credential); status.State != tt.state {
					t.Errorf("status is %+v", status)
				}
			}
			b.wantCount(t, tt.sent)
			if got := len(who.received()); got < tt.asked {
				t.Errorf("asked %d times who the caller is", got)
			}
			if tt.sent == 0 {
				return
			}
			seen := b.received()[0]
			if seen.body != transfer || seen.target != "/transfers?x=1" || seen.header.Get("Authorization") != "Bearer token-of-alice" ||
				!strings.HasPrefix(seen.header.Get("X-Forwarded-For"), "127.0.0.1") || len(op.started()) != 1 {
				t.Errorf("the upstream got %+v", seen)
			}
			got := s.do(http.MethodGet, location+"/result", "", credential)
			if got.status != http.StatusCreated || got.body != "booked for Bearer token-of-alice" {
				t.Errorf("result is %+v", got)
			}
		})
	}
}

func allEngines() []*stepup.Gate {
	var engines []*stepup.Gate
	gates.Range(func(_, value any) bool {
		engines = append(engines, value.(*gate).engine)
		return true
	})
	return engines
}

// A reload in the middle of an async request changes nothing.
func TestAsyncAcrossReload(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, gateBlock(op, b))
	location := s.async("/transfers", transfer, nil)
	for range 3 {
		s.reload(gateBlock(op, b) + "\n\theader X-Reloaded " + fmt.Sprint(len(op.started())))
	}
	op.setDecision(approve)
	if status := s.ended(location, nil); status.State != stepup.StateAnswered {
		t.Errorf("status is %+v", status)
	}
	b.wantCount(t, 1)
	if got := s.do(http.MethodGet, location+"/result", "", nil); got.status != http.StatusCreated {
		t.Errorf("result is %+v", got)
	}
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]+)"`)
	formField  = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]+)">`)
)

// A browser's file upload waits on a page and reaches the upstream byte for byte,
// and the upstream's answer reaches the browser.
func TestRedirect(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	b.handle = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		http.SetCookie(w, &http.Cookie{Name: "bank", Value: "1"})
		_, _ = io.WriteString(w, "<p>Thank you")
	}
	s := startSite(t, memoryStore, fmt.Sprintf("@post method POST\nciba @post %s {\n\tcustomer alice\n\tmessage Upload\n\tmatch_code\n}\nreverse_proxy %s", op.URL, b.addr()))
	upload := "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\x00\x01\xff\r\n\n\r\n--x--\r\n"
	browser := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Content-Type": {"multipart/form-data; boundary=x"}}
	got := s.do(http.MethodPost, "/upload?a=1", upload, browser)
	if got.status != http.StatusSeeOther || got.header.Get("Set-Cookie") == "" {
		t.Fatalf("got %+v", got)
	}
	location := got.header.Get("Location")
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	browser = http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Cookie": {cookie}}
	page := s.do(http.MethodGet, location, "", browser)
	if page.status != http.StatusOK || !strings.Contains(page.body, "Upload") || !regexp.MustCompile(`<output[^>]*>\d\d<`).MatchString(page.body) {
		t.Fatalf("page is %+v", page)
	}
	for _, asset := range regexp.MustCompile(`"(/.ciba/assets/[^"]+)"`).FindAllStringSubmatch(page.body, -1) {
		if got := s.do(http.MethodGet, asset[1], "", nil); got.status != http.StatusOK || !strings.Contains(got.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %+v", asset[1], got)
		}
	}
	if got := s.do(http.MethodGet, location, "", nil); got.status != http.StatusNotFound {
		t.Errorf("without cookie: %+v", got)
	}
	op.setDecision(approve)
	eventually(t, "the approval on the page", func() bool {
		page = s.do(http.MethodGet, location, "", browser)
		return strings.Contains(page.body, "ciba_continue")
	})
	b.wantCount(t, 0)
	values := url.Values{}
	for _, field := range formField.FindAllStringSubmatch(page.body, -1) {
		values.Set(field[1], field[2])
	}
	target := strings.ReplaceAll(formAction.FindStringSubmatch(page.body)[1], "&amp;", "&")
	if target != "/upload?a=1&ciba_continue" {
		t.Errorf("form goes to %s", target)
	}
	browser.Set("Content-Type", "application/x-www-form-urlencoded")
	browser.Set("Origin", "http://"+s.addr)
	for range 2 {
		got = s.do(http.MethodPost, target, values.Encode(), browser)
		if got.status != http.StatusOK || got.body != "<p>Thank you" || !strings.HasPrefix(got.header.Get("Set-Cookie"), "bank=1") {
			t.Errorf("answer is %+v", got)
		}
	}
	b.wantCount(t, 1)
	seen := b.received()[0]
	if seen.body != upload || seen.target != "/upload?a=1" || seen.header.Get("Content-Type") != "multipart/form-data; boundary=x" {
		t.Errorf("the upstream got %+v", seen)
	}
}

// The paths below /.ciba/ are the gate's also where a gate's matcher takes
// everything, and other methods than those of the status do not reach the
// upstream.
func TestStatusInFrontOfGate(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n}\nreverse_proxy %s", op.URL, b.addr()))
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		got := s.do(method, "/.ciba/t/nothing", "", nil)
		got.wantProblem(t, http.StatusNotFound, "transaction-not-found", false)
	}
	b.wantCount(t, 0)
	if len(op.started()) != 0 {
		t.Error("a customer was asked")
	}
}
