package caddyciba

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// threats.md C01
func TestCheckIssuer(t *testing.T) {
	for _, issuer := range []string{
		"https://id.example.com", "https://id.example.com/", "https://id.example.com:8443/tenant/a",
		"http://localhost:8080", "http://LOCALHOST", "http://127.0.0.1", "http://[::1]:9090/op",
	} {
		err := checkIssuer(issuer)
		if err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
		// What passes here is found wrong by nobody later.
		_, err = ciba.NewClient(ciba.Config{Issuer: issuer, ClientID: "a", Auth: ciba.ClientSecretBasic("b")})
		if err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
	for _, issuer := range []string{
		"", "id.example.com", "https://", "https:///path", "http://id.example.com", "http://10.0.0.1", "http://id.localhost", "http://localhost.", "http://localhost.example.com",
		"http://127.0.0.1.example.com", "ftp://id.example.com", "https://id.example.com?a=b", "https://id.example.com/?",
		"https://id.example.com#", "https://id.example.com/#a", "https://a:b@id.example.com", "https://a@id.example.com",
		"https://{env.HOST}", "https://id.example.com/{tenant}", "https:id.example.com", "https://id.example.com/a b",
		"https://id.example.com\\@evil.example", "https://id.example.com/\x00", "https://id.exämple.com",
	} {
		err := checkIssuer(issuer)
		if err == nil {
			t.Errorf("%q was accepted", issuer)
		}
	}
}

// A gate's client comes from the provider of its issuer, or else from the
// environment; what is missing is said, and what is secret is not.
func TestClientOfGate(t *testing.T) {
	const issuer = "https://id.example.com"
	provider := func(name, settings string) string {
		return fmt.Sprintf("provider %s {\n\tissuer %s\n%s\n}\n", name, issuer, settings)
	}
	t.Setenv("EMPTY", "")
	t.Setenv("OTHER_SECRET", "other-secret-for-tests")
	tests := []struct {
		name, option, issuer, want string
	}{
		{name: "environment", issuer: issuer},
		{name: "provider of the issuer", option: provider("corp", "client_id a\nclient_secret {env.OTHER_SECRET}"), issuer: issuer},
		{name: "provider by name", option: provider("a", "client_id a") + provider("b", "client_id b"), issuer: "b"},
		{name: "ambiguous issuer", option: provider("a", "client_id a") + provider("b", "client_id b"), issuer: issuer, want: "several providers have the issuer"},
		{name: "empty variable", option: provider("a", "client_secret {env.EMPTY}"), issuer: issuer, want: "resolving client_secret {env.EMPTY}: the variable or file is missing or empty"},
		{name: "missing file", option: provider("a", "client_secret {file./nonexistent/secret}"), issuer: issuer, want: "the variable or file is missing or empty"},
		{name: "missing key", option: provider("a", "client_key {file./nonexistent/key}"), issuer: issuer, want: "resolving client_key"},
		{name: "key that is none", option: provider("a", "client_key {env.OTHER_SECRET}"), issuer: issuer, want: "reading client_key"},
		{name: "unknown placeholder", option: provider("a", "client_id {nothing}"), issuer: issuer, want: "resolving client_id"},
		{name: "literal secret", option: provider("a", "client_secret hunter2-{x}"), issuer: issuer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config, err := adapt(t, "{\n\tciba {\n\t\tstore memory\n"+tt.option+"}\n}\n:0 {\n\tciba "+tt.issuer+"\n}\n")
			if err != nil {
				t.Fatal(err)
			}
			err = validate(config)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "other-secret")) {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
	if n := references(); n != 0 {
		t.Errorf("%d gates are left after validation", n)
	}
}

func references() int {
	n := 0
	gates.Range(func(any, any) bool { n++; return true })
	return n
}

// threats.md C03: a literal secret is warned about, and is not in the log; C09: so
// are retries behind the gate.
func TestWarnings(t *testing.T) {
	log := filepath.Join(t.TempDir(), "caddy.log")
	config, err := adapt(t, fmt.Sprintf(`{
	log {
		output file %s
	}
	ciba {
		store memory
		provider a {
			issuer https://id.example.com
			client_secret hunter2
		}
	}
}
:0 {
	@pay path /pay /held* /both /both/*
	ciba @pay a
	reverse_proxy localhost:1 {
		lb_retries 3
		lb_retry_match {
			method POST
		}
	}
}
`, log))
	if err != nil {
		t.Fatal(err)
	}
	err = validate(config)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"client_secret is written out", "approved requests are sent once all the same", "match /pay* instead"} {
		if !bytes.Contains(content, []byte(want)) {
			t.Errorf("the log lacks %q:\n%s", want, content)
		}
	}
	if bytes.Contains(content, []byte("match /held")) || bytes.Contains(content, []byte("match /both")) {
		t.Errorf("the log warns of paths that stand for more than themselves:\n%s", content)
	}
	if bytes.Contains(content, []byte("hunter2")) {
		t.Errorf("the log has the secret:\n%s", content)
	}
}

// A change of any setting that shapes a gate gives another gate.
func TestPoolKey(t *testing.T) {
	base := clientSettings{issuer: "https://a", clientID: "b", secret: "c"}
	seen := map[string]string{base.poolKey("store"): "base"}
	for name, s := range map[string]clientSettings{
		"issuer":   {issuer: "https://ab", clientID: "", secret: "c"},
		"clientID": {issuer: "https://a", clientID: "bc", secret: ""},
		"secret":   {issuer: "https://a", clientID: "b", secret: "d"},
		"key":      {issuer: "https://a", clientID: "b", key: "c"},

		"method":     {issuer: "https://a", clientID: "b", secret: "c", method: authPost},
		"cert":       {issuer: "https://a", clientID: "b", secret: "c", certFile: "d"},
		"cert key":   {issuer: "https://a", clientID: "b", secret: "c", certKeyFile: "d"},
		"bound":      {issuer: "https://a", clientID: "b", secret: "c", bound: true},
		"alg":        {issuer: "https://a", clientID: "b", secret: "c", requestAlg: "ES256"},
		"pool":       {issuer: "https://a", clientID: "b", secret: "c", poolHash: "d"},
		"delivery":   {issuer: "https://a", clientID: "b", secret: "c", delivery: "ping"},
		"long poll":  {issuer: "https://a", clientID: "b", secret: "c", longPoll: 1},
		"skew":       {issuer: "https://a", clientID: "b", secret: "c", clockSkew: 1},
		"algs":       {issuer: "https://a", clientID: "b", secret: "c", algs: []string{"ES256"}},
		"parameters": {issuer: "https://a", clientID: "b", secret: "c", parameters: url.Values{"a": {"b"}}},
	} {
		key := s.poolKey("store")
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[key] = name
		if strings.Contains(key, "c\x00") {
			t.Errorf("key of %s is no hash", name)
		}
	}
	if _, ok := seen[base.poolKey("other store")]; ok {
		t.Error("the store does not matter")
	}
}

// The private key is read from a file when the configuration is loaded, and the
// assertion is signed with it.
func TestPrivateKey(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	key, err := json.Marshal(jose.JSONWebKey{Key: op.key, KeyID: "client-1", Algorithm: "ES256", Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "client.jwk")
	err = os.WriteFile(file, append(key, '\n'), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := startSite(t, fmt.Sprintf("ciba {\n\tstore memory\n\tprovider corp {\n\t\tissuer %s\n\t\tclient_id %s\n\t\tclient_key {file.%s}\n\t}\n}", op.URL, testClientID, file),
		fmt.Sprintf("ciba corp {\n\tcustomer alice\n\tmessage Transfer\n}\nreverse_proxy %s", b.addr()))
	if got := s.post("/transfers", transfer); got.status != 201 {
		t.Errorf("got %+v", got)
	}
}

// What a dead process has left in the file is settled at start: what was being
// sent is in doubt, and nothing is sent again.
func TestRecoveryAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ciba.db")
	file, err := store.OpenBolt(path, store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for id, state := range map[string]stepup.State{"1": stepup.StateSending, "2": stepup.StateRequested} {
		data, err := json.Marshal(stepup.Transaction{
			ID: id, Method: "POST", Host: "bank", Target: "/transfers", State: state, Instance: "a dead process",
			Times: map[stepup.State]time.Time{state: time.Now()}, Deadline: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		err = file.Create(t.Context(), &store.Record{
			Kind: "gateway.transaction", ID: id, Data: data, Indexes: []store.Index{{Name: "state", Value: string(state)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = file.Close()
	if err != nil {
		t.Fatal(err)
	}

	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, "ciba {\n\tstore bolt "+path+"\n}", gateBlock(op, b))
	for id, want := range map[string]stepup.State{"1": stepup.StateInDoubt, "2": stepup.StateFailed} {
		got, err := s.gate().engine.Journal().Get(t.Context(), id)
		if err != nil || got.State != want {
			t.Errorf("transaction %s is %v, %v; want %s", id, got, err, want)
		}
	}
	b.wantCount(t, 0)
}

// A store that is down refuses requests, and the gate works once it is back.
func TestStoreDown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	err := os.WriteFile(dir, nil, 0o600) // a file where the directory should be
	if err != nil {
		t.Fatal(err)
	}
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, "ciba {\n\tstore bolt "+filepath.Join(dir, "ciba.db")+"\n}", gateBlock(op, b))
	s.post("/transfers", transfer).wantProblem(t, 503, "gateway-unavailable", false)
	b.wantCount(t, 0)
	if n := len(op.started()); n != 0 {
		t.Errorf("the customer was asked %d times", n)
	}
	err = os.Remove(dir)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store to be back", func() bool { return s.post("/transfers", transfer).status == 201 })
}
