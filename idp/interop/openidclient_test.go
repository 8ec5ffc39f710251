package interop_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// requireNode is the environment variable that turns the skip of a test without
// Node.js or its modules into a failure.
const requireNode = "CIBA_REQUIRE_NODE"

// nodeDir is where package.json, the lock and the script lie.
const nodeDir = "testdata/openid-client"

// nodeClient is one registration of openid-client.
type nodeClient struct {
	ID      string           `json:"client_id"`
	Method  string           `json:"method"`
	Secret  string           `json:"secret,omitempty"`
	Key     *jose.JSONWebKey `json:"key,omitempty"`
	DPoP    bool             `json:"dpop,omitempty"`
	IDToken string           `json:"-"` // algorithm of ID Tokens, the default if empty
}

// nodeCase is one flow that openid-client plays.
type nodeCase struct {
	nodeClient
	Name    string `json:"name"`
	Hint    string `json:"login_hint"`
	Message string `json:"binding_message"` // what the user does
	Expiry  int    `json:"requested_expiry,omitempty"`
}

// nodeResult is what openid-client made of it.
type nodeResult struct {
	Name      string         `json:"name"`
	Error     string         `json:"error"`
	Message   string         `json:"message"`
	Status    int            `json:"status"`
	Claims    map[string]any `json:"claims"`
	Userinfo  map[string]any `json:"userinfo"`
	TokenType string         `json:"token_type"`
	Scope     string         `json:"scope"`
	Refreshed string         `json:"refreshed"`
	Active    []bool         `json:"active"`
}

// What the user does with a request, by its binding message.
const (
	userApproves = "approve"
	userDenies   = "deny"
	userIsAway   = "let it expire"
)

// TestOpenIDClient lets openid-client for Node.js play every way to authenticate
// with every end of a request. It verifies ID Tokens by itself, and its refresh,
// introspection and revocation must work, too.
func TestOpenIDClient(t *testing.T) {
	const secret = "s3cret: 100% +&/= of the clients, which is long"
	playClients(t, []string{userApproves, userDenies, userIsAway}, []nodeClient{
		// The id and the secret must be percent-encoded in the header (RFC 6749
		// section 2.3.1), and openid-client encodes the dash and the dot, too.
		{ID: "teller-app:bank+branch 7.example", Method: provider.AuthSecretBasic, Secret: secret},
		{ID: "poster", Method: provider.AuthSecretPost, Secret: secret, IDToken: "RS256"},
		{ID: "mac", Method: provider.AuthSecretJWT, Secret: secret},
		{ID: "signer-es256", Method: provider.AuthPrivateKeyJWT, Key: newJWK(t, jose.ES256), IDToken: "PS256"},
		{ID: "signer-ps256", Method: provider.AuthPrivateKeyJWT, Key: newJWK(t, jose.PS256), IDToken: "EdDSA"},
		{ID: "dpop-secret", Method: provider.AuthSecretBasic, Secret: secret, DPoP: true},
		{ID: "dpop-signer", Method: provider.AuthPrivateKeyJWT, Key: newJWK(t, jose.ES256), DPoP: true},
	}, func(*provider.Config) {})
}

// TestOpenIDClientNonce has the provider ask for a nonce in DPoP proofs, upon which
// openid-client tries again by itself (RFC 9449 section 8).
func TestOpenIDClientNonce(t *testing.T) {
	playClients(t, []string{userApproves}, []nodeClient{
		{ID: "dpop-signer", Method: provider.AuthPrivateKeyJWT, Key: newJWK(t, jose.ES256), DPoP: true},
	}, func(c *provider.Config) { c.DPoPNonceLifetime = 10 * time.Second })
}

// playClients plays a flow for each of the clients and each thing that the user may
// do, all at once.
func playClients(t *testing.T, messages []string, clients []nodeClient, change func(*provider.Config)) {
	t.Helper()
	node := findNode(t)
	s := newSite(t, func(c *provider.Config) {
		c.Interval = time.Second
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 100, 10
		for _, client := range clients {
			c.Clients = append(c.Clients, client.registration(t))
		}
		change(c)
	}, decideByMessage(t))
	var cases []nodeCase
	for _, client := range clients {
		for _, message := range messages {
			c := nodeCase{nodeClient: client, Name: client.ID + " " + message, Hint: "alice", Message: message}
			if message == userIsAway {
				c.Expiry = 2
			}
			cases = append(cases, c)
		}
	}
	results := playNode(t, node, s, cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r, ok := results[c.Name]
			if !ok {
				t.Fatal("openid-client said nothing of it")
			}
			switch c.Message {
			case userApproves:
				checkNodeTokens(t, s, c, r)
			case userDenies:
				checkNodeError(t, r, "access_denied")
			case userIsAway:
				checkNodeError(t, r, "expired_token")
			}
		})
	}
}

// registration is the client as the provider knows it.
func (n nodeClient) registration(t testing.TB) provider.Client {
	t.Helper()
	c := provider.Client{
		ID: n.ID, AuthMethod: n.Method, Scopes: []string{"email"}, IDTokenSigningAlg: n.IDToken, DPoPBound: n.DPoP,
		GrantTypes: []string{provider.GrantCIBA, provider.GrantRefresh},
	}
	switch {
	case n.Method == provider.AuthSecretJWT:
		c.AssertionSecrets = []provider.AssertionSecret{provider.AssertionSecret(n.Secret)}
		return c
	case n.Key == nil:
		c.SecretHashes = []provider.SecretHash{provider.HashSecret(n.Secret)}
		return c
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{n.Key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	c.JWKS = keys
	return c
}

// decideByMessage is a user who does what the binding message says.
func decideByMessage(t testing.TB) func(*provider.Provider, *provider.Request) {
	return func(p *provider.Provider, r *provider.Request) {
		var err error
		switch r.BindingMessage {
		case userApproves:
			err = p.Approve(context.Background(), approvalOf(r))
		case userDenies:
			err = p.Deny(context.Background(), r.Subject, r.ID)
		case userIsAway:
		}
		if err != nil {
			t.Errorf("deciding: %v", err)
		}
	}
}

// approvalOf approves all that a request asks for.
func approvalOf(r *provider.Request) provider.Approval {
	a := provider.Approval{Subject: r.Subject, RequestID: r.ID, AuthTime: time.Now(), AMR: []string{"pwd"}}
	for _, scope := range r.Scopes {
		a.Scopes = append(a.Scopes, scope.Name)
	}
	return a
}

// checkNodeTokens checks what openid-client got for an approved request.
func checkNodeTokens(t *testing.T, s *site, c nodeCase, r nodeResult) {
	t.Helper()
	if r.Error != "" {
		t.Fatalf("%s: %s", r.Error, r.Message)
	}
	if r.Claims["sub"] != "sub-alice" || r.Claims["aud"] != c.ID || r.Claims["iss"] != s.issuer {
		t.Errorf("claims of the ID Token: %v", r.Claims)
	}
	if r.Userinfo["email"] != "alice@example.com" || r.Scope != "openid email" {
		t.Errorf("userinfo %v, scope %q", r.Userinfo, r.Scope)
	}
	want := "bearer" // openid-client makes it lower case
	if c.DPoP {
		want = "dpop"
	}
	if r.TokenType != want {
		t.Errorf("token_type is %q, not %q", r.TokenType, want)
	}
	if r.Refreshed != "sub-alice" {
		t.Errorf("subject after refreshing is %q", r.Refreshed)
	}
	if len(r.Active) != 2 || !r.Active[0] || r.Active[1] {
		t.Errorf("token is active before and after revocation: %v", r.Active)
	}
}

func checkNodeError(t *testing.T, r nodeResult, code string) {
	t.Helper()
	if r.Error != code || r.Status != 400 {
		t.Errorf("got %q with status %d (%s), want %q", r.Error, r.Status, r.Message, code)
	}
}

// findNode returns the program node. Without it, or without the npm modules, the
// test is skipped, or fails if it is required.
func findNode(t *testing.T) string {
	t.Helper()
	missing := t.Skipf
	if os.Getenv(requireNode) != "" {
		missing = t.Fatalf
	}
	node, err := exec.LookPath("node")
	if err != nil {
		missing("Node.js is missing: %v", err)
	}
	_, err = os.Stat(filepath.Join(nodeDir, "node_modules", "openid-client", "package.json"))
	if err != nil {
		missing("openid-client is missing; run: npm ci --prefix idp/interop/%s", nodeDir)
	}
	return node
}

// playNode runs the script and returns its results by the names of the cases.
func playNode(t *testing.T, node string, s *site, cases []nodeCase) map[string]nodeResult {
	t.Helper()
	input, err := json.Marshal(map[string]any{"issuer": s.issuer, "cases": cases})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, node, "play.mjs")
	command.Dir = nodeDir
	command.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+s.certFile)
	command.Stdin = bytes.NewReader(input)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		t.Fatalf("running node: %v\n%s", err, complaints.String())
	}
	results := make(map[string]nodeResult)
	decoder := json.NewDecoder(bytes.NewReader(output))
	for decoder.More() {
		var r nodeResult
		err = decoder.Decode(&r)
		if err != nil {
			t.Fatalf("reading results: %v\n%s", err, output)
		}
		results[r.Name] = r
	}
	return results
}

// newJWK returns a private key for one algorithm.
func newJWK(t testing.TB, alg jose.SignatureAlgorithm) *jose.JSONWebKey {
	t.Helper()
	var (
		key crypto.Signer
		err error
	)
	if alg == jose.ES256 {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &jose.JSONWebKey{Key: key, KeyID: string(alg) + "-1", Algorithm: string(alg), Use: "sig"}
}
