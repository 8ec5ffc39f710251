package caddyciba

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// badAnswer is a row of ciba/testdata/bad_answers.json: what a provider answers at a
// path, and what the gate's caller gets then, as status and problem.
type badAnswer struct {
	ID, Name, Path, Body, Gate string
	Status                     int
	Header                     map[string]string
}

// badTenants is a server with a provider for each row, below a path of its own. Each
// approves everything, but for one answer of it.
func badTenants(t *testing.T, op *fakeOP, rows []badAnswer) *httptest.Server {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		i, err := strconv.Atoi(tenant)
		if err != nil || i >= len(rows) {
			http.NotFound(w, r)
			return
		}
		issuer := server.URL + "/" + tenant
		if row := rows[i]; row.Path == "/"+rest {
			w.Header().Set("Content-Type", "application/json")
			for name, value := range row.Header {
				w.Header().Set(name, value)
			}
			if row.Status != 0 {
				w.WriteHeader(row.Status)
			}
			idToken := op.tokenFor(issuer, r.PostFormValue("auth_req_id"))
			_, _ = fmt.Fprint(w, strings.NewReplacer("https://id.example.com", issuer, "$ID_TOKEN", idToken).Replace(row.Body))
			return
		}
		switch rest {
		case ".well-known/openid-configuration":
			document := maps.Clone(map[string]any{
				"issuer": issuer, "jwks_uri": issuer + "/jwks", "token_endpoint": issuer + "/token",
				"backchannel_authentication_endpoint":        issuer + "/backchannel",
				"backchannel_token_delivery_modes_supported": []string{"poll"},
				"id_token_signing_alg_values_supported":      []string{"ES256"},
			})
			reply(w, http.StatusOK, document)
		case "jwks":
			op.jwks(w, r)
		case "backchannel":
			reply(w, http.StatusOK, map[string]any{"auth_req_id": "request-" + tenant, "expires_in": 120, "interval": 1})
		case "token":
			reply(w, http.StatusOK, map[string]any{
				"access_token": "token-of-alice", "token_type": "Bearer", "id_token": op.tokenFor(issuer, r.PostFormValue("auth_req_id")),
			})
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// tokenFor is an ID Token of another issuer with the provider's key.
func (op *fakeOP) tokenFor(issuer, authReqID string) string {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.claims = func(claims map[string]any) { claims["iss"] = issuer }
	defer func() { op.claims = nil }()
	return op.idToken(&fakeRequest{id: authReqID, form: map[string][]string{"login_hint": {"alice"}}})
}

// The rows R of the threat catalogue, through Caddy: whatever a provider answers that
// is not in order, nothing is sent, and the caller is told in the way of the table.
func TestBadProviders(t *testing.T) {
	data, err := os.ReadFile("ciba/testdata/bad_answers.json")
	if err != nil {
		t.Fatal(err)
	}
	rows := []badAnswer{{ID: "R00", Name: "all in order", Path: "/nowhere", Gate: "201"}}
	var bad []badAnswer
	err = json.Unmarshal(data, &bad)
	if err != nil {
		t.Fatal(err)
	}
	rows = append(rows, bad...)
	op, b := newFakeOP(t), newBank(t)
	server := badTenants(t, op, rows)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	err = os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var providers, gates strings.Builder
	for i := range rows {
		fmt.Fprintf(&providers, "provider p%d {\n\tissuer %s/%d\n\ttrust_pool file %s\n\tlong_poll off\n}\n", i, server.URL, i, authority)
		fmt.Fprintf(&gates, "ciba /%d p%d {\n\tcustomer alice\n\tmessage Transfer\n\thold 10s\n\tlimit off\n}\n", i, i)
	}
	s := startSite(t, "ciba {\n\tstore memory\n"+providers.String()+"}", gates.String()+"reverse_proxy "+b.addr())
	got := make([]answer, len(rows))
	var callers sync.WaitGroup
	for i := range rows {
		callers.Go(func() { got[i] = s.post(fmt.Sprint("/", i), transfer) })
	}
	callers.Wait()
	for i, row := range rows {
		t.Run(row.ID+" "+row.Name, func(t *testing.T) {
			status, problem, _ := strings.Cut(row.Gate, " ")
			want, err := strconv.Atoi(status)
			if err != nil {
				t.Fatalf("the row says %q of the gate, which answered %d %s", row.Gate, got[i].status, got[i].body)
			}
			if problem == "" {
				if got[i].status != want {
					t.Errorf("got %+v", got[i])
				}
				return
			}
			got[i].wantProblem(t, want, problem, false)
			if want == http.StatusServiceUnavailable && got[i].header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
	b.wantCount(t, 1)
}
