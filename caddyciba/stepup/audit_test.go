package stepup

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/audit"
)

// auditor is an audit log that takes all but the events that it refuses.
type auditor struct {
	mu      sync.Mutex
	entries []audit.Entry
	durable []string
	refuse  EventType
}

var errDiskFull = errors.New("disk is full")

func (a *auditor) write(_ context.Context, e audit.Entry, durable bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if EventType(e.Event) == a.refuse {
		return errDiskFull
	}
	a.entries = append(a.entries, e)
	if durable {
		a.durable = append(a.durable, e.Event)
	}
	return nil
}

func (a *auditor) events() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []string
	for _, e := range a.entries {
		list = append(list, e.Event)
	}
	return list
}

// What the log says of a request that was approved and sent: who was shown what, who
// decided, and what was sent. That it is sent is on the disk first.
func TestAudit(t *testing.T) {
	log := &auditor{}
	upstream := &counting{}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) error {
		if !slices.Equal(log.durable, []string{"sent"}) {
			t.Errorf("sent while the log has %q on the disk", log.durable)
		}
		return upstream.next(w, r)
	}, func(cfg *Config) { cfg.Audit = log.write })
	b.client.types = []string{"http_request"}
	b.route.Scope = []string{"openid", "transfers"}
	b.route.Reuse = time.Minute
	b.do("POST", "/v1/t?secret=1", `{"a":1}`, nil)
	if got := log.events(); !slices.Equal(got, []string{"requested", "approved", "sent", "answered"}) {
		t.Fatalf("the log has %q", got)
	}
	requested, approved, sent, answered := log.entries[0], log.entries[1], log.entries[2], log.entries[3]
	tr := b.only(t)
	for _, e := range log.entries {
		if e.Request != tr.ID || e.Customer != "alice" || e.Caller != "teller" || e.Digest != tr.Digest || e.Route != "transfer" {
			t.Errorf("entry %+v", e)
		}
	}
	if requested.Message == "" || len(requested.Details) == 0 || requested.Target != "/v1/t" || !slices.Equal(requested.Scopes, b.route.Scope) {
		t.Errorf("requested: %+v", requested)
	}
	name := sha256.Sum256([]byte("request")) // the auth_req_id
	if approved.Subject != "customer-1" || approved.ProviderRequest != base64.RawURLEncoding.EncodeToString(name[:]) {
		t.Errorf("approved: %+v", approved)
	}
	if sent.Method != "POST" || sent.Target != "/v1/t" || answered.Status != http.StatusCreated || answered.State != string(StateAnswered) {
		t.Errorf("sent: %+v answered: %+v", sent, answered)
	}
}

// What was decided otherwise stands there, too.
func TestAuditOfEnds(t *testing.T) {
	for event, err := range map[string]error{
		"denied":  &ciba.Error{Op: "wait", Code: ciba.CodeAccessDenied},
		"expired": &ciba.Error{Op: "wait", Code: ciba.CodeExpiredToken},
		"failed":  &ciba.Error{Op: "wait", Code: ciba.CodeMismatch},
	} {
		log := &auditor{}
		b := newBench(t, answering(201, ""), func(cfg *Config) { cfg.Audit = log.write })
		b.client.wait = func(context.Context) error { return err }
		b.do("POST", "/p", "1", nil)
		if got := log.events(); !slices.Equal(got, []string{"requested", event}) || log.entries[1].Reason == "" {
			t.Errorf("the log has %q: %+v", got, log.entries)
		}
	}
}

// Nobody is asked and nothing is sent that the log does not take; what has happened is
// not undone by it.
func TestAuditRefuses(t *testing.T) {
	for _, row := range []struct {
		refuse              EventType
		status, asked, sent int
		state               State
		revoked             int
	}{
		{EventRequested, 503, 0, 0, StateFailed, 0},
		{EventApproved, 201, 1, 1, StateAnswered, 0},
		{EventSent, 503, 1, 0, StateFailed, 1},
		{EventAnswered, 201, 1, 1, StateAnswered, 0},
	} {
		t.Run(string(row.refuse), func(t *testing.T) {
			log := &auditor{refuse: row.refuse}
			upstream := &counting{}
			b := newBench(t, upstream.next, func(cfg *Config) { cfg.Audit = log.write })
			answer := b.do("POST", "/p", "1", nil)
			tr := b.only(t)
			if answer.Code != row.status || b.client.asked() != row.asked || upstream.count() != row.sent || tr.State != row.state ||
				b.client.revocations() != row.revoked {
				t.Errorf("status %d, asked %d, sent %d, state %s, revoked %d", answer.Code, b.client.asked(), upstream.count(), tr.State, b.client.revocations())
			}
			if b.events.has(EventSent) != (row.sent == 1) {
				t.Errorf("events %v", b.events.types())
			}
		})
	}
}

// A request that an earlier approval covers is written down, or does not go out.
func TestAuditOfReuse(t *testing.T) {
	log := &auditor{}
	b := newBench(t, answering(201, ""), func(cfg *Config) { cfg.Audit = log.write })
	b.route.Reuse = time.Minute
	b.do("POST", "/p", "1", nil)
	r, err := http.NewRequest("GET", "/accounts", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host, r.RequestURI, r.Header = "example.com", "/accounts", http.Header{}
	out, _, err := b.gate.Covered(httptest.NewRecorder(), r.Clone(t.Context()), b.route, "teller", "alice")
	if err != nil || out == nil {
		t.Fatalf("not covered: %v", err)
	}
	last := log.entries[len(log.entries)-1]
	if last.Event != "reused" || last.Request != b.only(t).ID || last.Customer != "alice" || last.Target != "/accounts" {
		t.Errorf("entry %+v", last)
	}
	log.refuse = EventReused
	out, _, err = b.gate.Covered(httptest.NewRecorder(), r.Clone(t.Context()), b.route, "teller", "alice")
	var f *Refusal
	if !errors.As(err, &f) || f.Status != http.StatusServiceUnavailable || out != nil {
		t.Errorf("it went out: %v", err)
	}
}

func TestSealer(t *testing.T) {
	s := store.NewMemory(store.Options{})
	defer s.Close()
	sealer, err := NewSealer(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := sealer.Seal(t.Context(), "kind", "id", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := sealer.Open(t.Context(), "kind", "id", sealed)
	if err != nil || string(opened) != "secret" {
		t.Errorf("%q, %v", opened, err)
	}
	_, err = sealer.Open(t.Context(), "kind", "other", sealed)
	if err == nil {
		t.Error("opened in another record")
	}
	_, err = NewSealer(s, [][]byte{[]byte("short")})
	if err == nil {
		t.Error("a short key was taken")
	}
}
