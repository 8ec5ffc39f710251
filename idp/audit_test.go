package idp

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store/audit"
)

// The log says who was asked what and what they decided, is signed at its end, and has
// neither auth_req_ids nor secrets.
func TestAuditLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	s := newServer(t)
	s.load(strings.Replace(site, "interval 1s", "interval 1s\n\t\taudit "+path+" {\n\t\t\tnode idp-1\n\t\t}", 1))
	issuer := s.url("")
	in := s.instance(issuer)
	id := s.start(issuer)
	pending, err := in.provider.Pending(t.Context(), "anna")
	if err != nil || len(pending) != 1 {
		t.Fatalf("%d requests wait: %v", len(pending), err)
	}
	err = in.provider.Deny(t.Context(), "anna", pending[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for line := range bytes.Lines(text) {
		var e audit.Entry
		err = json.Unmarshal(line, &e)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Event, "log_") {
			continue
		}
		events = append(events, e.Event)
		if e.Request != pending[0].ID || e.Customer != "anna" || e.Client != "gateway" || e.Message != pending[0].BindingMessage {
			t.Errorf("entry %s", line)
		}
	}
	if !slices.Equal(events, []string{"requested", "denied"}) || bytes.Contains(text, []byte(id)) {
		t.Errorf("the log has %q: %s", events, text)
	}
	r, err := audit.Verify(audit.Expect{}, path)
	if err != nil || !slices.Equal(r.Nodes, []string{"idp-1"}) {
		t.Errorf("report %+v, %v", r, err)
	}
}
