package idp

import (
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// keySet is a JSON Web Key Set that is good for everything.
const keySet = `{"keys": [{"kty":"EC","crv":"P-256","alg":"ES256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`

// The options of the second stage, in JSON: what is taken, and what is refused
// with which words.
func TestJSONOptions(t *testing.T) {
	newServer(t)
	dir := t.TempDir()
	t.Setenv("IDP_TEST_DIR", dir)
	t.Setenv("IDP_TEST_LONG", strings.Repeat("secret", 6))
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newIssuer(t, "Test").certificate.Raw}))
	for name, content := range map[string]string{
		"ca.pem": authority, "empty.pem": "", "text.pem": "no certificate",
		"key.pem": authority + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"bad.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	client := func(options string) string {
		return `"clients": [{"id": "c", "secrets": ["{env.IDP_TEST_SECRET}"], ` + options + `}]`
	}
	keyed := func(options string) string {
		return `"clients": [{"id": "c", "jwks": ` + keySet + `, ` + options + `}]`
	}
	for options, want := range map[string]string{
		`"profile": "fapi_ciba"`:               "",
		`"profile": "x"`:                       "profile 'x'",
		`"long_poll": -1`:                      "",
		`"long_poll": 26000000000`:             "long_poll is 26s",
		`"binding_message_max": -1`:            "binding_message_max",
		`"refresh_token_lifetime": 1000000000`: "",
		`"refresh_token_lifetime": -1`:         "refresh_token_lifetime",
		`"signing_algs": ["ES256", "ES256"]`:   "repeated value 'ES256'",
		`"limits": {"held_polls": 7}`:          "",
		`"limits": {"held_polls": -1}`:         "held_polls",
		`"limits": {"per_user": {"burst": 3, "per": 60000000000}, "per_client": {"burst": -1}}`: "",
		`"limits": {"per_user": {"burst": 3}}`:                                                  "limit per_user is in 0s",
		`"limits": {"per_user": {"burst": 3, "per": 660000000000}}`:                             "to 10m0s",
		`"limits": {"cool_down": {"first": -1}}`:                                                "",
		`"limits": {"cool_down": {"first": 7200000000000}}`:                                     "limit cool_down is 2h0m0s at first and 1h0m0s at most",
		`"limits": {"failures": {"per": 60000000000}}`:                                          "limit failures is 0",
		`"limits": {"per_source": {"burst": 3, "per": 1}}`:                                      "limit per_source",
		`"key_rotation": -1`:          "",
		`"key_rotation": 60000000000`: "key_rotation is 1m0s",
		`"key_rotation": 3600000000000, "access_token_lifetime": 3600000000000`:               "",
		`"limits": {"pending_per_client": 1}`:                                                 "unknown field",
		`"notification_networks": ["127.0.0.1"]`:                                              "",
		`"notification_networks": ["::/0"]`:                                                   "every network",
		`"notification_networks": ["fe80::1%eth0"]`:                                           "neither a network",
		`"notification_networks": ["10.0.0.1/8"]`:                                             "write 10.0.0.0/8",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/ca.pem"]`:                                    "",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/missing.pem"]`:                               "missing.pem",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/empty.pem"]`:                                 "no certificate in PEM",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/text.pem"]`:                                  "no certificate in PEM",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/key.pem"]`:                                   "PRIVATE KEY",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/bad.pem"]`:                                   "bad.pem: ",
		`"client_ca_files": ["{env.NONE}"]`:                                                   "resolving client_ca",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/ca.pem"], "listener_verifies_clients": true`: "",
		`"listener_verifies_clients": true`:                                                   "listener_verifies_clients needs client_ca",
		`"notification_ca_files": ["{env.IDP_TEST_DIR}/empty.pem"]`:                           "notification_ca",
		`"notification_ca_files": ["{env.IDP_TEST_DIR}/ca.pem"]`:                              "",
		`"mtls_base_url": "https://mtls.id.example.com"`:                                      "",
		`"mtls_base_url": "https://mtls.id.example.com/other"`:                                "path of the issuer",
		`"mtls_base_url": "https://mtls.id.example.com?x"`:                                    "plain https URL",
		`"details": [{"name": "t", "fields": [{"name": "a", "type": "amount"}]}]`:             "",
		`"details": [null]`: "null",
		`"details": [{}]`:   "details ''",
		`"details": [{"name": "t", "fields": [null]}]`:                                      "null field",
		`"details": [{"name": "t", "fields": [{}]}]`:                                        "has no name",
		`"details": [{"name": "t", "fields": [{"name": "a"}, {"name": "a"}]}]`:              "field 'a' is defined twice",
		`"details": [{"name": "t", "fields": [{"name": "a", "type": "x"}]}]`:                "type 'x'",
		`"details": [{"name": "t"}, {"name": "t"}]`:                                         "details 't' is defined twice",
		`"hint_issuers": [{"issuer": "i", "jwks": ` + keySet + `}]`:                         "",
		`"hint_issuers": [{"issuer": "i", "jwks": {"keys": []}}]`:                           "no keys",
		`"hint_issuers": [{"issuer": "i", "jwks_file": "{env.IDP_TEST_DIR}/text.pem"}]`:     "JSON Web Key Set",
		`"hint_issuers": [{"issuer": "i", "jwks_file": "x", "jwks": {}}]`:                   "both",
		`"hint_issuers": [{"issuer": "i"}]`:                                                 "no jwks",
		`"hint_issuers": [{}]`:                                                              "no issuer",
		`"hint_issuers": [null]`:                                                            "null",
		client(`"delivery": "ping", "notification_endpoint": "https://c.example.com/ping"`): "",
		client(`"delivery": "ping", "notification_endpoint": "https://10.0.0.1/ping"`):      "closed network",
		client(`"auth_method": "client_secret_jwt"`):                                        "32 bytes",
		`"clients": [{"id": "c", "secrets": ["{env.IDP_TEST_LONG}"], "auth_method": "client_secret_jwt", "auth_signing_alg": "HS256"}]`: "",
		`"clients": [{"id": "c", "secrets": ["sha256:` + strings.Repeat("ab", 32) + `"], "auth_method": "client_secret_jwt"}]`:          "the secret itself",
		`"clients": [{"id": "c", "jwks_uri": "https://c.example.com/jwks"}]`:                                                            "",
		`"clients": [{"id": "c", "jwks_uri": "https://127.0.0.1/jwks"}]`:                                                                "closed network",
		`"clients": [{"id": "c", "jwks_uri": "http://c.example.com/jwks"}]`:                                                             "must be an https URL",
		`"clients": [{"id": "c", "jwks_uri": "https://c.example.com/jwks", "jwks_file": "x"}]`:                                          "only one of",
		client(`"delivery": "ping"`): "requires a notification_endpoint",
		client(`"delivery": "poll", "notification_endpoint": "https://c.example.com/ping"`):                                 "polls",
		client(`"delivery": "push", "notification_endpoint": "https://c.example.com/push"`):                                 "",
		client(`"delivery": "push", "notification_endpoint": "https://c.example.com/push", "sender_constraints": ["dpop"]`): "cannot be bound",
		`"dpop_nonce_lifetime": 60000000000`:                                       "",
		`"dpop_nonce_lifetime": 1000000000`:                                        "dpop_nonce_lifetime is 1s",
		client(`"delivery": "x"`):                                                  "delivery 'x'",
		client(`"refresh": true, "long_poll": true, "user_code": true`):            "",
		client(`"require_signed_requests": true`):                                  "signed requests require a jwks",
		client(`"request_signing_alg": "ES256", "jwks": ` + keySet):                "",
		client(`"jwks": ` + keySet):                                                "auth_method",
		client(`"jwks": ` + keySet + `, "auth_method": "client_secret_basic"`):     "",
		client(`"details": ["http_request"]`):                                      "",
		client(`"details": ["x"]`):                                                 "details 'x' is not defined",
		client(`"details": ["http_request", "http_request"]`):                      "named twice",
		client(`"sender_constraints": ["dpop"]`):                                   "",
		client(`"sender_constraints": ["dpop", "dpop"]`):                           "named twice",
		client(`"sender_constraints": ["x"]`):                                      "sender_constraint 'x'",
		client(`"certificate": {"san_dns": "c.example.com"}`):                      "does not use the certificate",
		client(`"profile": "fapi_ciba"`):                                           "JWKS is required",
		client(`"resource": "https://api.example.com"`):                            "",
		keyed(`"profile": "fapi_ciba", "sender_constraints": ["dpop"]`):            "",
		keyed(`"profile": "fapi_ciba"`):                                            "bound",
		keyed(`"auth_signing_alg": "none"`):                                        "auth_signing_alg 'none'",
		keyed(`"id_token_signing_alg": "PS256"`):                                   "",
		`"clients": [{"id": "c", "certificate": {"san_dns": "c.example.com"}}]`:    "certificate authority",
		`"clients": [{"id": "c", "certificate": {}}]`:                              "exactly one",
		`"clients": [{"id": "c", "certificate": {"san_dns": "a", "san_ip": "b"}}]`: "exactly one",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/ca.pem"], "clients": [{"id": "c", "certificate": {"subject_dn": "CN=c"}}]`: "",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/ca.pem"], "clients": [{"id": "c", "certificate": {"san_ip": "x"}}]`:        "not an IP address",
		`"client_ca_files": ["{env.IDP_TEST_DIR}/ca.pem"], "clients": [{"id": "c", "certificate": {"san_uri": "urn:c"}}]`:   "",
		`"clients": [{"id": "c", "auth_method": "self_signed_tls_client_auth", "jwks": ` + keySet + `}]`:                    "x5c",
		`"users": [{"username": "a", "password": "` + hashOf("x") + `", "user_code": "1234"}]`:                              "user_code must be a hash",
		`"users": [{"username": "a", "password": "` + hashOf("x") + `", "user_code": "` + hashOf("1234") + `"}]`:            "",
	} {
		err := provision(t, `{"handler": "ciba_idp", "store": {"engine": "memory"}, "issuer": "https://id.example.com", `+options+`}`)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s\nis refused: %v", options, err)
		case want != "" && err == nil:
			t.Errorf("%s\nis taken", options)
		case want != "" && !strings.Contains(err.Error(), want):
			t.Errorf("%s\ngot  %v\nwant %s", options, err, want)
		}
	}
}

// What is open that is better closed is said at each load.
func TestWarningsOfOptions(t *testing.T) {
	h := &Handler{
		Issuer:               "https://id.example.com",
		NotificationNetworks: []string{"10.0.0.0/8", "169.254.169.254"},
		Users:                []*User{{Username: "anna", Password: hashOf(annaPassword), UserCode: hashOf("1234")}},
		Clients:              []*Client{{ID: "c", Secrets: []string{secretHashPrefix + strings.Repeat("ab", 32)}, Delivery: "push"}},
	}
	_, warnings, err := h.resolve(caddy.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(warnings, "\n")
	if len(warnings) != 3 || !strings.Contains(all, "tokens that are pushed") || !strings.Contains(all, "169.254.169.254/32") || !strings.Contains(all, "user_code") {
		t.Errorf("got warnings:\n%s", all)
	}
}

// The endpoint for tests is there only if it is configured, decides, and is loudly
// announced at each load, also of a config that changes nothing.
func TestTestApprovals(t *testing.T) {
	s := newServer(t)
	s.load(site)
	id := s.start(s.url(""))
	decide := func() int {
		resp, _ := s.do(s.request(http.MethodPost, s.url("/test/ciba-action?token="+id+"&type=allow"), nil))
		return resp.StatusCode
	}
	if string(s.get(s.url("/test/ciba-action"))) != "not the provider's" {
		t.Error("the endpoint is there")
	}
	open := strings.Replace(site, "interval 1s", "interval 1s\n\t\tinsecure_test_approvals", 1)
	log := filepath.Join(t.TempDir(), "caddy.log")
	loud := func() int {
		content, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(content), "INSECURE: insecure_test_approvals is set")
	}
	s.loadWith("\tlog {\n\t\toutput file "+log+"\n\t}\n", open)
	if loud() != 1 {
		t.Error("the first load is not loud")
	}
	s.loadWith("\tlog {\n\t\toutput file "+log+"\n\t\tlevel INFO\n\t}\n", open)
	if loud() != 2 {
		t.Error("the second load is not loud")
	}
	status := decide()
	if status != http.StatusOK {
		t.Errorf("deciding: %d", status)
	}
	status, answer := s.poll(s.url(""), id)
	if status != http.StatusOK {
		t.Errorf("after the decision: %d %v", status, answer)
	}
}
