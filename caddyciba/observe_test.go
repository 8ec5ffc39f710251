package caddyciba

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(eventRecorder{})
}

// eventRecorder is an event handler for tests.
type eventRecorder struct{}

var recorded struct {
	sync.Mutex
	events []caddy.Event
}

func (eventRecorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.ciba_test", New: func() caddy.Module { return new(eventRecorder) }}
}

func (*eventRecorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

func (*eventRecorder) Handle(_ context.Context, e caddy.Event) error {
	recorded.Lock()
	defer recorded.Unlock()
	recorded.events = append(recorded.events, e)
	return nil
}

// takeEvents returns what has been recorded, and forgets it.
func takeEvents() []caddy.Event {
	recorded.Lock()
	defer recorded.Unlock()
	events := recorded.events
	recorded.events = nil
	return events
}

func eventNames(events []caddy.Event) []string {
	var names []string
	for _, e := range events {
		names = append(names, e.Name())
	}
	return names
}

const recordEvents = memoryStore + `
	events {
		on ciba_requested ciba_test
		on ciba_approved  ciba_test
		on ciba_denied    ciba_test
		on ciba_expired   ciba_test
		on ciba_sent      ciba_test
		on ciba_answered  ciba_test
		on ciba_refused   ciba_test
		on ciba_in_doubt  ciba_test
	}
	metrics`

// The rest of Caddy hears what happens: events, access log and metrics, without
// secrets, and the newest configuration also of requests that an older one holds.
func TestObserved(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	logFile := filepath.Join(t.TempDir(), "access.log")
	site := fmt.Sprintf("log {\n\toutput file %s\n}\n%s", logFile, gateBlock(op, b))
	s := startSite(t, recordEvents, site)
	takeEvents()

	op.setDecision(approve)
	if got := s.post("/transfers", transfer); got.status != http.StatusCreated {
		t.Fatalf("got %+v", got)
	}
	events := takeEvents()
	if got, want := eventNames(events), []string{"ciba_requested", "ciba_approved", "ciba_sent", "ciba_answered"}; !slices.Equal(got, want) {
		t.Errorf("events of an approved request: %v, want %v", got, want)
	}
	for _, e := range events {
		if e.Origin() == nil || e.Origin().CaddyModule().ID != "ciba" || e.Data["transaction"] == "" {
			t.Errorf("event %s of %v has data %v", e.Name(), e.Origin(), e.Data)
		}
		if text := fmt.Sprint(e.Data); strings.Contains(text, "alice") || strings.Contains(text, "token-of") || strings.Contains(text, "Bob") {
			t.Errorf("event %s tells too much: %s", e.Name(), text)
		}
	}

	op.setDecision(deny)
	s.post("/transfers", transfer)
	s.post("/transfers", "{}")
	if got, want := eventNames(takeEvents()), []string{"ciba_requested", "ciba_denied", "ciba_refused"}; !slices.Equal(got, want) {
		t.Errorf("events of refused requests: %v, want %v", got, want)
	}

	// Held across a reload.
	op.setDecision(pending)
	asked := len(op.started())
	done := s.postLater("/transfers", transfer)
	op.waitStarted(asked + 1)
	s.reload("header X-Version 2\n" + site)
	takeEvents()
	op.setDecision(approve)
	<-done
	if got, want := eventNames(takeEvents()), []string{"ciba_approved", "ciba_sent", "ciba_answered"}; !slices.Equal(got, want) {
		t.Errorf("events after a reload: %v, want %v", got, want)
	}

	metrics := s.metrics()
	label := `issuer="` + op.URL + `"`
	for _, line := range []string{
		`caddy_ciba_transactions_total{` + label + `,outcome="answered",problem=""} 2`,
		`caddy_ciba_transactions_total{` + label + `,outcome="denied",problem="approval-denied"} 1`,
		`caddy_ciba_transactions_total{` + label + `,outcome="refused",problem="transaction-not-readable"} 1`,
		`caddy_ciba_held_requests{` + label + `} 0`,
		`caddy_ciba_decision_seconds_count{` + label + `,outcome="approved"} 2`,
		`caddy_ciba_upstream_seconds_count{` + label + `} 2`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics lack %s:\n%s", line, strings.Join(regexp.MustCompile(`(?m)^caddy_ciba_.*$`).FindAllString(metrics, -1), "\n"))
		}
	}

	content, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	if n := strings.Count(text, `"ciba_transaction":"`); n != 3 {
		t.Errorf("the access log names %d transactions, want 3:\n%s", n, text)
	}
	if !strings.Contains(text, `"ciba_error":"approval-denied"`) || !strings.Contains(text, `"ciba_error":"transaction-not-readable"`) {
		t.Errorf("the access log lacks an error:\n%s", text)
	}
	if strings.Contains(text, "token-of") || strings.Contains(text, testClientSecret) {
		t.Errorf("the access log has a secret:\n%s", text)
	}
}

// metrics reads the metrics of the admin API.
func (s *site) metrics() string {
	s.t.Helper()
	resp, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("metrics: %s %v", resp.Status, err)
	}
	return string(text)
}

// What stands behind the gate can use who has approved.
func TestClaimsBehindTheGate(t *testing.T) {
	op := newFakeOP(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n}\nrespond \"by {ciba.claims.sub} ({ciba.claims.none}) {http.ciba.transaction}\"", op.URL))
	got := s.post("/transfers", transfer)
	if got.status != 200 || !regexp.MustCompile(`^by alice \(\) [0-9a-f-]{36}$`).MatchString(got.body) {
		t.Errorf("got %+v", got)
	}
}
