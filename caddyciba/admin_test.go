package caddyciba

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// ask calls the admin API and decodes the answer.
func (s *site) ask(method, path, body string, into any) int {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.admin+"/ciba/"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if into != nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, into)
		if err != nil {
			s.t.Fatalf("decoding %q: %v", text, err)
		}
	}
	return resp.StatusCode
}

// An operator finds a transaction that waits and stops it: the caller is told at once,
// the customer is no longer asked, and an approval sends nothing. What is shown names
// nobody.
func TestAdminCancels(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", gateBlock(op, b))
	done := s.postLater("/transfers", transfer)
	op.waitStarted(1)
	var list []*stepup.Transaction
	if status := s.ask("GET", "transactions?state=requested", "", &list); status != 200 || len(list) != 1 {
		t.Fatalf("status %d, list %+v", status, list)
	}
	id := list[0].ID
	var shown json.RawMessage
	if status := s.ask("GET", "transactions/"+id, "", &shown); status != 200 || bytes.Contains(shown, []byte("alice")) {
		t.Errorf("status %d, shown %s", status, shown)
	}
	if status := s.ask("POST", "transactions/"+id+"/cancel", "", nil); status != 200 {
		t.Errorf("status %d", status)
	}
	(<-done).wantProblem(t, 403, "transaction-cancelled", false)
	op.setDecision(approve)
	b.wantCount(t, 0)
	if status := s.ask("POST", "transactions/"+id+"/cancel", "", nil); status != 409 {
		t.Errorf("cancelled twice: %d", status)
	}
	for path, want := range map[string]int{
		"transactions/nothing": 404, "transactions?state=lost": 400, "transactions?limit=0": 400, "transactions?limit=x": 400,
		"transactions?after=" + id: 400, "other": 404, "transactions": 200, "transactions/" + id + "/cancel": 405,
	} {
		if status := s.ask("GET", path, "", nil); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// What was in doubt is listed until an operator has found out.
func TestAdminResolves(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	b.handle = func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", gateBlock(op, b))
	s.post("/transfers", transfer).wantProblem(t, 502, "outcome-unknown", "unknown")
	var list []*stepup.Transaction
	s.ask("GET", "transactions?state=in_doubt", "", &list)
	if len(list) != 1 {
		t.Fatalf("in doubt: %+v", list)
	}
	path := "transactions/" + list[0].ID + "/resolve"
	for body, want := range map[string]int{
		`{}`: 400, `{"outcome":"maybe"}`: 400, `{"outcome":"executed","state":"failed"}`: 400, `{"outcome":"executed"} {}`: 400, `executed`: 400,
	} {
		if status := s.ask("POST", path, body, nil); status != want {
			t.Errorf("%s: %d, want %d", body, status, want)
		}
	}
	if status := s.ask("POST", path, `{"outcome":"not_executed","note":"not in the books"}`, nil); status != 200 {
		t.Errorf("status %d", status)
	}
	if status := s.ask("POST", path, `{"outcome":"executed"}`, nil); status != 409 {
		t.Errorf("resolved twice: %d", status)
	}
	s.ask("GET", "transactions?state=in_doubt", "", &list)
	if len(list) != 0 {
		t.Errorf("still in doubt: %+v", list)
	}
}

// Readiness fails when the provider refuses the client, and does not when the
// provider is down, which all nodes have in common. It does not say why.
func TestReady(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	for name, row := range map[string]struct {
		global string
		prime  func()
		status int
		text   string
	}{
		"in order":       {"", func() {}, 200, "ready"},
		"provider down":  {"", func() { op.mu.Lock(); op.down = true; op.mu.Unlock() }, 200, "degraded"},
		"unknown client": {"\tprovider corp {\n\t\tissuer " + op.URL + "\n\t\tclient_id other\n\t}\n", func() {}, 503, "unready"},
		"store down":     {"\tstore bolt /dev/null/ciba.db\n", func() {}, 503, "unready"},
	} {
		t.Run(name, func(t *testing.T) {
			op.mu.Lock()
			op.down = false
			op.mu.Unlock()
			row.prime()
			global := row.global
			if !strings.Contains(global, "store") {
				global += "\tstore memory\n"
			}
			s := startSite(t, "ciba {\n"+global+"}", "ciba_ready /health\n"+gateBlock(op, b))
			got := s.do("GET", "/health", "", nil)
			if got.status != row.status || got.body != fmt.Sprintf("{\"status\":%q}\n", row.text) {
				t.Errorf("got %+v", got)
			}
			if got := s.do("POST", "/health", "", nil); got.status != 405 {
				t.Errorf("POST: %+v", got)
			}
			var checks []checked
			if status := s.ask("GET", "check", "", &checks); status != 200 || len(checks) == 0 {
				t.Errorf("status %d", status)
			}
		})
	}
}

// A provider that a gate uses is checked once, whatever else shapes the gate.
func TestCheckOnce(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	t.Setenv("CIBA_TEST_KEY", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	for name, option := range map[string]string{
		"plain":     "",
		"encrypted": "encryption_key {env.CIBA_TEST_KEY}",
		"audited":   "audit " + t.TempDir() + "/audit.log",
	} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, fmt.Sprintf("ciba {\n\tstore memory\n\t%s\n\tprovider corp {\n\t\tissuer %s\n\t}\n}", option, op.URL),
				strings.Replace(gateBlock(op, b), "@transfer "+op.URL, "@transfer corp", 1))
			var checks []checked
			if status := s.ask("GET", "check", "", &checks); status != 200 || len(checks) != 2 {
				t.Errorf("status %d, %+v: want the provider and the store", status, checks)
			}
		})
	}
}

// caddy ciba check says what is wrong, by a report for people or as JSON, and
// starts nothing.
func TestCheckCommand(t *testing.T) {
	op := newFakeOP(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	// The command leaves what it has provisioned to the end of its process, so it has
	// a store of its own here.
	for name, row := range map[string]struct {
		provider string
		want     []string
		fails    bool
	}{
		"in order":       {"", []string{"corp (" + op.URL + ")", "ok           client", "ok           clock"}, false},
		"unknown client": {"client_id other", []string{"FAILURE      client", "does not know the client other by client_secret_basic"}, true},
		"no such secret": {"client_secret {env.NO_SUCH_SECRET}", []string{"FAILURE      configuration", "{env.NO_SUCH_SECRET}"}, true},
		"ping":           {"delivery ping", []string{"warning      notifications"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			content := fmt.Sprintf("{\n\tadmin off\n\tlog {\n\t\tlevel ERROR\n\t}\n\tciba {\n\t\tstore memory check\n\t\tprovider corp {\n\t\t\tissuer %s\n\t\t\t%s\n\t\t}\n\t}\n}\nhttp://127.0.0.1:1 {\n\trespond ok\n}\n", op.URL, row.provider)
			err := os.WriteFile(file, []byte(content), 0o600)
			if err != nil {
				t.Fatal(err)
			}
			for _, asJSON := range []bool{false, true} {
				var out bytes.Buffer
				err = runCheck(t.Context(), configFlags{config: file, adapter: "caddyfile"}, asJSON, &out)
				if (err != nil) != row.fails {
					t.Errorf("error %v", err)
				}
				if strings.Contains(out.String(), testClientSecret) {
					t.Error("the report has the secret")
				}
				if asJSON {
					var checks []checked
					err = json.Unmarshal(out.Bytes(), &checks)
					if err != nil || len(checks) != 1 {
						t.Errorf("report %s, %v", out.String(), err)
					}
					continue
				}
				for _, want := range row.want {
					if !strings.Contains(out.String(), want) {
						t.Errorf("the report lacks %q:\n%s", want, out.String())
					}
				}
			}
		})
	}
}
