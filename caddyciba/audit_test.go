package caddyciba

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store/audit"
)

// auditEvents are the events of a log, but those about itself.
func auditEvents(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range bytes.Lines(text) {
		var e audit.Entry
		err := json.Unmarshal(line, &e)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(e.Event, "log_") {
			list = append(list, e.Event)
		}
		if e.Event == "requested" && (e.Customer != "alice" || e.Message == "" || e.Client != testClientID) {
			t.Errorf("entry %s", line)
		}
	}
	for _, secret := range []string{testClientSecret, "Bearer", "100.00\",\"currency"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	return list
}

// gateOf is a gate in front of a bank.
func gateOf(op *fakeOP, b *bank, options string) string {
	return fmt.Sprintf("ciba %s {\n\tlimit off\n\t%s\n}\nreverse_proxy %s", op.URL, options, b.addr())
}

// One log for a site's requests, over a reload and the end of Caddy. While it takes
// nothing, nobody is asked.
func TestAuditLog(t *testing.T) {
	op, bank := newFakeOP(t), newBank(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	body := gateOf(op, bank, "customer {ciba.body.debtor.customer_id}")
	s := startSite(t, "\tciba {\n\t\tstore memory\n\t\taudit "+path+" {\n\t\t\tnode here\n\t\t}\n\t}\n", body)
	op.setDecision(approve)
	if a := s.post("/pay", transfer); a.status != http.StatusCreated {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	op.setDecision(deny)
	s.post("/pay", transfer)
	s.reload(body + "\n\theader X-New yes")
	op.setDecision(approve)
	if a := s.post("/pay", transfer); a.status != http.StatusCreated {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	want := []string{"requested", "approved", "sent", "answered", "requested", "denied", "requested", "approved", "sent", "answered"}
	if got := auditEvents(t, path); !slices.Equal(got, want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
	r, err := audit.Verify(audit.Expect{}, path)
	if err != nil || !slices.Equal(r.Nodes, []string{"here"}) {
		t.Errorf("report %+v, %v", r, err)
	}
}

// A log that takes nothing keeps everybody from being asked, unless the operator would
// rather go on.
func TestAuditLogFails(t *testing.T) {
	for mode, status := range map[string]int{"refuse": http.StatusServiceUnavailable, "continue": http.StatusCreated} {
		t.Run(mode, func(t *testing.T) {
			op, bank := newFakeOP(t), newBank(t)
			op.setDecision(approve)
			path := filepath.Join(t.TempDir(), "missing", "audit.log")
			s := startSite(t, "\tciba {\n\t\tstore memory\n\t\taudit "+path+" {\n\t\t\ton_failure "+mode+"\n\t\t}\n\t}\n",
				gateOf(op, bank, "customer alice"))
			a := s.post("/pay", transfer)
			if a.status != status || (len(bank.received()) == 1) != (status == http.StatusCreated) {
				t.Fatalf("got %d: %s", a.status, a.body)
			}
			if mode == "refuse" && len(op.started()) != 0 {
				t.Error("the customer was asked")
			}
			// It comes back by itself.
			err := os.Mkdir(filepath.Dir(path), 0o700)
			if err != nil {
				t.Fatal(err)
			}
			a = s.post("/pay", transfer)
			if a.status != http.StatusCreated {
				t.Fatalf("got %d: %s", a.status, a.body)
			}
			if got := auditEvents(t, path); !slices.Contains(got, "sent") {
				t.Errorf("the log has %q", got)
			}
		})
	}
}
