package interop_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/porttest"
)

// requireNode is the environment variable that turns the skip of a test without
// Node.js or its modules into a failure.
const requireNode = "CIBA_REQUIRE_NODE"

// nodeDir is where package.json, the lock and the script lie.
const nodeDir = "testdata/oidc-provider"

// findNode returns the program, or skips the test.
func findNode(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(nodeDir, "node_modules", "oidc-provider"))
	}
	if err != nil {
		if os.Getenv(requireNode) != "" {
			t.Fatalf("%s is set: %v", requireNode, err)
		}
		t.Skipf("needs Node.js, and npm ci --prefix caddyciba/interop/%s: %v", nodeDir, err)
	}
	return node
}

// nodeSecret is a secret that must be percent-encoded to survive.
const nodeSecret = "s3cret: 100% +&/= of the clients, which is long"

// nodeClients are the gateway's registrations at oidc-provider. Those with signed
// say by which algorithm requests have to be signed.
func nodeClients(t *testing.T, known *credentials, site string) []map[string]any {
	t.Helper()
	keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{known.clientKey.Public()}}
	client := func(id, method, mode string, more map[string]any) map[string]any {
		c := map[string]any{
			"client_id": id, "token_endpoint_auth_method": method, "backchannel_token_delivery_mode": mode,
			"grant_types": []string{"urn:openid:params:grant-type:ciba"}, "redirect_uris": []string{}, "response_types": []string{},
			"id_token_signed_response_alg": "ES256", "scope": "openid",
		}
		if method == "private_key_jwt" {
			c["jwks"] = keys
			c["token_endpoint_auth_signing_alg"] = "PS256"
			c["backchannel_authentication_request_signing_alg"] = "PS256"
		} else {
			c["client_secret"] = nodeSecret
		}
		if mode == "ping" {
			c["backchannel_client_notification_endpoint"] = site + "/.ciba/ping/" + id
		}
		for name, value := range more {
			c[name] = value
		}
		return c
	}
	return []map[string]any{
		client("signer-poll", "private_key_jwt", "poll", nil),
		client("signer-ping", "private_key_jwt", "ping", nil),
		client("basic-poll", "client_secret_basic", "poll", nil),
		client("post-ping", "client_secret_post", "ping", nil),
		client("bound-poll", "client_secret_basic", "poll", map[string]any{"dpop_bound_access_tokens": true}),
		client("bound-ping", "private_key_jwt", "ping", map[string]any{"dpop_bound_access_tokens": true}),
		client("mac-poll", "client_secret_jwt", "poll", map[string]any{"token_endpoint_auth_signing_alg": "HS256"}),
	}
}

// startNode runs oidc-provider and returns its issuer.
func startNode(t *testing.T, node string, known *credentials, clients []map[string]any) string {
	t.Helper()
	cmd := exec.Command(node, "serve.mjs")
	cmd.Dir = nodeDir
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+known.path("ca.pem"), "NODE_ENV=production")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := &lockedBuffer{}
	cmd.Stderr = said
	err = cmd.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("oidc-provider said:\n%s", said)
		}
	})
	_, err = fmt.Fprintf(input, "%s\n", encode(t, map[string]any{
		"clients": clients,
		"jwks":    jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: newECKey(t), KeyID: "op-1", Algorithm: "ES256", Use: "sig"}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	issuer, found := strings.CutSuffix(line, "\n")
	if err != nil || !found {
		_ = cmd.Process.Kill()
		t.Fatalf("oidc-provider does not serve: %q, %v\n%s", line, err, said)
	}
	go func() { _, _ = io.Copy(io.Discard, output) }()
	return issuer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestOIDCProvider asks for approvals of a provider that is not ours, with every
// client: approve, deny, let it expire, authenticate too weakly or too long ago,
// and an unknown customer. acr and auth_time are asked for by the parameters of
// OpenID Connect, and checked.
func TestOIDCProvider(t *testing.T) {
	node := findNode(t)
	known := newCredentials(t)
	addr := porttest.Reserve(t)
	bank := newBank(t)
	clients := nodeClients(t, known, "https://"+addr)
	issuer := startNode(t, node, known, clients)
	var providers, routes strings.Builder
	for _, client := range clients {
		id := client["client_id"].(string)
		providers.WriteString(nodeProvider(t, known, issuer, client))
		routes.WriteString(nodeRoutes(id, bank.URL))
	}
	startCaddy(t, "ciba {\n\tstore memory\n"+providers.String()+"}",
		fmt.Sprintf("https://%s {\n\ttls %s %s\n\tciba_notify\n%s}\n", addr, known.path("server.pem"), known.path("server-key.pem"), routes.String()))

	rows := []struct {
		path    string
		status  int
		problem string
	}{
		{path: "approve", status: 201},
		{path: "deny", status: 403, problem: "approval-denied"},
		{path: "away", status: 403, problem: "approval-expired"},
		{path: "weak", status: 403, problem: "approval-mismatch"},
		{path: "old", status: 403, problem: "approval-mismatch"},
		{path: "nobody", status: 403, problem: "approval-unavailable"},
	}
	type result struct {
		status  int
		problem string
		took    time.Duration
	}
	results := make(map[string]<-chan result)
	client := known.httpClient(t)
	for _, c := range clients {
		for _, row := range rows {
			done := make(chan result, 1)
			name := c["client_id"].(string) + "/" + row.path
			results[name] = done
			go func() {
				began := time.Now()
				resp, err := client.Post("https://"+addr+"/"+name, "application/json", strings.NewReader(`{"amount":"1.00"}`))
				if err != nil {
					t.Error(err)
					done <- result{}
					return
				}
				defer resp.Body.Close()
				var problem struct{ Type string }
				_ = json.NewDecoder(resp.Body).Decode(&problem)
				done <- result{resp.StatusCode, problem.Type, time.Since(began)}
			}()
		}
	}
	fastest := time.Hour
	for _, c := range clients {
		for _, row := range rows {
			name := c["client_id"].(string) + "/" + row.path
			t.Run(name, func(t *testing.T) {
				got := <-results[name]
				if got.status != row.status || !strings.HasSuffix(got.problem, row.problem) {
					t.Errorf("got %d %s, want %d %s", got.status, got.problem, row.status, row.problem)
				}
				if row.status == 201 && c["backchannel_token_delivery_mode"] == "ping" {
					fastest = min(fastest, got.took)
				}
				want := 0
				if row.status == 201 {
					want = 1
				}
				if n := bank.count("/" + name); n != want {
					t.Errorf("the upstream saw %d requests, want %d", n, want)
				}
			})
		}
	}
	// Who asks by itself does so after 5 seconds at the earliest.
	if fastest > 5*time.Second {
		t.Errorf("the fastest approval that was pinged took %s", fastest)
	}
}

// nodeProvider is what an operator writes for one registration.
func nodeProvider(t *testing.T, known *credentials, issuer string, client map[string]any) string {
	t.Helper()
	known.write(t, "secret", []byte(nodeSecret))
	method := client["token_endpoint_auth_method"].(string)
	auth := "client_auth " + method + "\n\t\t\tclient_secret {file." + known.path("secret") + "}"
	if method == "private_key_jwt" {
		auth = "client_key {file." + known.path("client.jwk") + "}\n\t\t\tsigned_requests PS256"
	}
	if client["dpop_bound_access_tokens"] == true {
		auth += "\n\t\t\tsender_constraint dpop"
	}
	if client["client_id"] == "bound-ping" {
		known.write(t, "dpop.jwk", encode(t, jose.JSONWebKey{Key: newECKey(t), Algorithm: "ES256"}))
		auth += "\n\t\t\tdpop_key {file." + known.path("dpop.jwk") + "}"
	}
	return fmt.Sprintf("\t\tprovider %s {\n\t\t\tissuer %s\n\t\t\tclient_id %s\n\t\t\t%s\n\t\t\tdelivery %s\n\t\t\tparameter claims `%s`\n\t\t}\n",
		client["client_id"], issuer, client["client_id"], auth, client["backchannel_token_delivery_mode"],
		strings.NewReplacer("{", `\{`, "}", `\}`).Replace(`{"id_token":{"auth_time":{"essential":true}}}`))
}

// nodeRoutes are the protected paths of one registration.
func nodeRoutes(id, upstream string) string {
	var b strings.Builder
	option := ""
	if id == "bound-ping" {
		option = "\n\t\t\tdpop_htu " + upstream + "/core"
	}
	for _, path := range []string{"approve", "deny", "away", "weak", "old", "nobody"} {
		customer, hold := "alice", "60s"
		switch path {
		case "nobody":
			customer = "nobody"
		case "away": // the others are not meant to come to an end by it, however slow it all is
			hold = "12s"
		}
		fmt.Fprintf(&b, "\thandle /%s/%s {\n\t\tciba %s {\n\t\t\tcustomer %s\n\t\t\tmessage \"%s {ciba.body.amount}\"\n\t\t\tacr phr\n\t\t\thold %s\n\t\t\tlimit off%s\n\t\t}\n\t\treverse_proxy %s\n\t}\n",
			id, path, id, customer, path, hold, option, upstream)
	}
	return b.String()
}

// A bank is an upstream that counts, and checks how it gets the token.
type bank struct {
	*httptest.Server
	mu     sync.Mutex
	seen   map[string]int
	proofs map[string]bool // identifiers of those that came
}

func newBank(t *testing.T) *bank {
	t.Helper()
	b := &bank{seen: make(map[string]int), proofs: make(map[string]bool)}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.seen[r.URL.Path]++
		b.mu.Unlock()
		err := b.judge(r)
		if err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *bank) count(path string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[path]
}

// TestOIDCProviderExample runs the example as it stands, and its README's words.
func TestOIDCProviderExample(t *testing.T) {
	node := findNode(t)
	known := newCredentials(t)
	bank := newBank(t)
	addr := porttest.Reserve(t)
	issuer := startNode(t, node, known, nodeClients(t, known, "https://"+addr)[2:3])
	setEnvironment(t, filepath.Join(examples, "oidc-provider", "example.env"), map[string]string{
		"ISSUER": issuer, "CLIENT": "basic-poll", "CLIENT_SECRET": nodeSecret, "SITE": "http://" + addr, "UPSTREAM": strings.TrimPrefix(bank.URL, "http://"),
	})
	config := adaptExample(t, "oidc-provider")
	config.Admin = &caddy.AdminConfig{Disabled: true}
	err := caddy.Run(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	for purpose, want := range map[string]int{"approve": 201, "deny": 403} {
		resp, err := http.Post("http://"+addr+"/transfers", "application/json",
			strings.NewReader(`{"debtor":"`+purpose+`","purpose":"`+purpose+`","amount":"1.00"}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", purpose, resp.StatusCode, want)
		}
	}
	if n := bank.count("/transfers"); n != 1 {
		t.Errorf("the upstream saw %d requests", n)
	}
}
