package provider_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist D1, D2, D3, D4, D5, D6
func TestDiscovery(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) {
		c.Clients[0].IDTokenSigningAlg = "PS256"
		c.ACRValues = []string{"phr"}
	})
	a := w.get("/.well-known/openid-configuration")
	a.want(t, 200, "")
	want := map[string]string{
		"issuer":                              issuer,
		"jwks_uri":                            issuer + "/jwks",
		"token_endpoint":                      issuer + "/token",
		"userinfo_endpoint":                   issuer + "/userinfo",
		"backchannel_authentication_endpoint": issuer + "/backchannel-authentication",
	}
	for name, value := range want {
		if a.str(name) != value {
			t.Errorf("%s is %q, want %q", name, a.str(name), value)
		}
	}
	lists := map[string]string{
		"backchannel_token_delivery_modes_supported":                      "poll ping",
		"grant_types_supported":                                           provider.GrantCIBA + " refresh_token",
		"id_token_signing_alg_values_supported":                           "ES256 PS256",
		"token_endpoint_auth_methods_supported":                           "client_secret_basic client_secret_post private_key_jwt",
		"token_endpoint_auth_signing_alg_values_supported":                "ES256 PS256 EdDSA RS256",
		"scopes_supported":                                                "address email my_wire_transfer_scope openid phone profile",
		"acr_values_supported":                                            "phr",
		"backchannel_authentication_request_signing_alg_values_supported": "ES256 PS256 EdDSA RS256",
		"subject_types_supported":                                         "public",
	}
	for name, value := range lists {
		var got []string
		list, _ := a.body[name].([]any)
		for _, v := range list {
			got = append(got, v.(string))
		}
		if strings.Join(got, " ") != value {
			t.Errorf("%s is %v, want %s", name, got, value)
		}
	}
	if a.body["backchannel_user_code_parameter_supported"] != false {
		t.Error("user_code is not supported")
	}
}

func TestHandles(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.Issuer = issuer + "/tenant/a" })
	for path, want := range map[string]bool{
		"/tenant/a/token": true, "/tenant/a/.well-known/openid-configuration": true, "/tenant/a/jwks": true,
		"/token": false, "/tenant/a/": false, "/tenant/a/token/": false, "/tenant/a//token": false,
	} {
		r := httptest.NewRequest(http.MethodGet, issuer+path, nil)
		if w.Handles(r) != want {
			t.Errorf("%s: handled is %v", path, !want)
		}
		if !want && w.do(r).status != http.StatusNotFound {
			t.Errorf("%s is not 404", path)
		}
	}
	if w.get("/tenant/a/.well-known/openid-configuration").str("token_endpoint") != issuer+"/tenant/a/token" {
		t.Error("endpoint without the path of the issuer")
	}
}

// CIBA checklist C1
func TestConfigIsChecked(t *testing.T) {
	good := newWorld(t, nil).cfg
	cases := map[string]func(*provider.Config){
		"an issuer is required":                  func(c *provider.Config) { c.Issuer = "" },
		"must be https":                          func(c *provider.Config) { c.Issuer = "http://id.example.com" },
		"ends with a slash":                      func(c *provider.Config) { c.Issuer = issuer + "/" },
		"has a query or a fragment":              func(c *provider.Config) { c.Issuer = issuer + "?x" },
		"not a plain URL":                        func(c *provider.Config) { c.Issuer = "https://a@id.example.com" },
		"not canonical":                          func(c *provider.Config) { c.Issuer = issuer + "/a/../b" },
		"a store is required":                    func(c *provider.Config) { c.Store = nil },
		"a user store is required":               func(c *provider.Config) { c.Users = nil },
		"request lifetime must be":               func(c *provider.Config) { c.RequestLifetime = 601 * time.Second },
		"longest request lifetime":               func(c *provider.Config) { c.MaxRequestLifetime = time.Hour },
		"interval must be":                       func(c *provider.Config) { c.Interval = 1500 * time.Millisecond },
		"token lifetimes":                        func(c *provider.Config) { c.AccessTokenLifetime = -1 },
		`unknown signing algorithm "HS256"`:      func(c *provider.Config) { c.SigningAlgs = []string{"HS256"} },
		"encryption key 0 has 3 bytes":           func(c *provider.Config) { c.EncryptionKeys = [][]byte{{1, 2, 3}} },
		"unknown assertion audience":             func(c *provider.Config) { c.AssertionAudience = "any" },
		"lifetime of DPoP nonces":                func(c *provider.Config) { c.DPoPNonceLifetime = time.Second },
		"limits must not be negative":            func(c *provider.Config) { c.MaxPendingPerUser = -1 },
		"is declared twice":                      func(c *provider.Config) { c.Scopes = append(c.Scopes, c.Scopes[0]) },
		"is not a scope token":                   func(c *provider.Config) { c.Scopes = []provider.Scope{{Name: "a b"}} },
		`client "gateway" is given twice`:        func(c *provider.Config) { c.Clients = append(c.Clients, c.Clients[0]) },
		"the id must be":                         func(c *provider.Config) { c.Clients[0].ID = "" },
		"a secret is required":                   func(c *provider.Config) { c.Clients[0].SecretHashes = nil },
		"the secret is empty":                    func(c *provider.Config) { c.Clients[0].SecretHashes = []provider.SecretHash{provider.HashSecret("")} },
		"a JWKS is required":                     func(c *provider.Config) { c.Clients[0].AuthMethod = provider.AuthPrivateKeyJWT },
		`unknown authentication method "none"`:   func(c *provider.Config) { c.Clients[0].AuthMethod = "none" },
		`unknown scope "nonsense"`:               func(c *provider.Config) { c.Clients[0].Scopes = []string{"nonsense"} },
		`unknown grant type "password"`:          func(c *provider.Config) { c.Clients[0].GrantTypes = []string{"password"} },
		`unknown delivery mode "carrier-pigeon"`: func(c *provider.Config) { c.Clients[0].DeliveryMode = "carrier-pigeon" },
		"reading JWKS":                           func(c *provider.Config) { c.Clients[0].JWKS = []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`) },
	}
	for want, change := range cases {
		cfg := good
		cfg.Clients = slices.Clone(good.Clients)
		change(&cfg)
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, issuer := range []string{"http://localhost:9080", "http://127.0.0.1:1", "http://[::1]:1", "https://id.example.com/a"} {
		cfg := good
		cfg.Issuer = issuer
		_, err := provider.New(cfg)
		if err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}

func TestStaticUsers(t *testing.T) {
	for _, list := range [][]provider.User{
		{{ID: "", Username: "a"}},
		{{ID: "ü", Username: "a"}},
		{{ID: "1"}},
		{{ID: "1", Username: "a"}, {ID: "1", Username: "b"}},
		{{ID: "1", Username: "a"}, {ID: "2", Username: "A"}},
	} {
		_, err := provider.NewStaticUsers(list)
		if err == nil {
			t.Errorf("%+v was taken", list)
		}
	}
	all, err := provider.NewStaticUsers([]provider.User{{ID: "1", Username: "Jürgen"}})
	if err != nil {
		t.Fatal(err)
	}
	u, err := all.ByLogin(t.Context(), "ju\u0308rgen")
	if err != nil || u.ID != "1" {
		t.Errorf("%v, %v", u, err)
	}
	_, err = all.BySubject(t.Context(), "2")
	wantErr(t, err, provider.ErrUserNotFound)
}

// Threats B65, T4
func TestPendingLimits(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 3, 2 })
	begin := func(client string) *answer {
		return w.post(client, "/backchannel-authentication", "scope", "openid", "login_hint", "alice")
	}
	begin("gateway").want(t, 200, "")
	w.clock.advance(time.Minute)
	second := begin("gateway")
	second.want(t, 200, "")
	a := begin("gateway")
	a.want(t, 429, "temporarily_unavailable")
	if a.header.Get("Retry-After") != "240" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	begin("other").want(t, 200, "")
	begin("other").want(t, 429, "temporarily_unavailable")
	w.post("other", "/backchannel-authentication", "scope", "openid", "login_hint", "bob").want(t, 200, "")
	err := w.Deny(t.Context(), "sub-alice", hashOf(second.str("auth_req_id")))
	if err != nil {
		t.Fatal(err)
	}
	begin("gateway").want(t, 200, "") // there is room again
}

// brokenStore is a store that does not answer.
type brokenStore struct{ store.Store }

var errBroken = errors.New("disk is on fire")

func (brokenStore) Create(context.Context, *store.Record) error { return errBroken }
func (brokenStore) Get(context.Context, string, string) (*store.Record, error) {
	return nil, errBroken
}
func (brokenStore) List(context.Context, string, store.Index, string, int) ([]*store.Record, error) {
	return nil, errBroken
}

// Threats B66, INV-15, INV-17: a store that is down fails closed, and the cause
// stays in the log.
func TestStoreDown(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	w := newWorld(t, func(c *provider.Config) {
		c.Store = brokenStore{c.Store}
		c.Logger = zap.New(core)
	})
	for path, params := range map[string][]string{
		"/backchannel-authentication": {"scope", "openid", "login_hint", "alice"},
		"/token":                      {"grant_type", provider.GrantCIBA, "auth_req_id", strings.Repeat("A", 43)},
	} {
		a := w.post("gateway", path, params...)
		a.want(t, 503, "temporarily_unavailable")
		if a.header.Get("Retry-After") == "" || strings.Contains(a.raw, "fire") {
			t.Errorf("%v %s", a.header, a.raw)
		}
	}
	if logs.FilterMessage("request refused").Len() != 2 {
		t.Errorf("log: %v", logs.All())
	}
}

// Threats INV-11: no secret is logged.
func TestLogHasNoSecrets(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	w := newWorld(t, func(c *provider.Config) { c.Logger = zap.New(core) })
	authReqID, id := w.start()
	w.poll("gateway", authReqID)
	w.poll("other", authReqID)
	w.mustApprove(id)
	tokens := w.poll("gateway", authReqID)
	w.poll("gateway", authReqID)
	userinfo(w, tokens.str("id_token"))
	r := postRequest("/token", "grant_type=x")
	r.SetBasicAuth("gateway", "a-wrong-secret")
	w.do(r)
	var b strings.Builder
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for _, entry := range logs.All() {
		line, err := encoder.EncodeEntry(entry.Entry, entry.Context)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(line.String())
	}
	if logs.Len() < 8 {
		t.Errorf("only %d lines", logs.Len())
	}
	for _, secret := range []string{authReqID, secret1, secret2, "a-wrong-secret", tokens.str("access_token"), tokens.str("id_token")} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}
