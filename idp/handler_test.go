package idp

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// provision loads a handler from JSON as Caddy does, and returns what Provision
// and Validate say.
func provision(t *testing.T, config string) error {
	t.Helper()
	wrapped := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"apps": {"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [%s]}]}}}}
	}`, config)
	var parsed caddy.Config
	err := json.Unmarshal([]byte(wrapped), &parsed)
	if err != nil {
		t.Fatalf("the test's JSON: %v", err)
	}
	err = caddy.Validate(&parsed)
	if n := count(); n != 0 {
		t.Errorf("%d instances are left", n)
	}
	return err
}

// What the Caddyfile refuses with file and line, JSON refuses too, and some more
// that a Caddyfile cannot say (threats.md C01, C04, C05, C13).
func TestJSONMistakes(t *testing.T) {
	newServer(t)
	hash := hashOf(annaPassword)
	const head = `"handler": "ciba_idp", "store": {"engine": "memory"}, "issuer": "https://id.example.com"`
	for config, want := range map[string]string{
		`{` + head + `}`: "",
		`{` + head + `, "clients": [{"id": "c", "secrets": ["{env.IDP_TEST_SECRET}"], "scopes": ["openid", "email"]}], "users": [{"username": "anna", "password": "` + hash + `"}]}`: "",
		`{` + head + `, "max_request_lifetime": 60000000000}`:      "",
		`{` + head + `, "clients": [], "users": [], "scopes": []}`: "",

		`{"handler": "ciba_idp"}`:                                                                                                                 "an issuer is required",
		`{"handler": "ciba_idp", "issuer": "http://id.example.com"}`:                                                                              "must use https",
		`{` + head + `, "isuer": "x"}`:                                                                                                            "unknown field",
		`{` + head + `, "interval": "soon"}`:                                                                                                      "invalid duration",
		`{` + head + `, "interval": -1}`:                                                                                                          "interval is -1ns, but must be from 1s to 1m0s",
		`{` + head + `, "interval": 1500000000}`:                                                                                                  "whole seconds",
		`{` + head + `, "request_lifetime": 3600000000000}`:                                                                                       "request_lifetime is 1h0m0s",
		`{` + head + `, "request_lifetime": 120000000000, "max_request_lifetime": 60000000000}`:                                                   "longer than max_request_lifetime 1m0s",
		`{` + head + `, "proof_age": -1}`:                                                                                                         "proof_age",
		`{` + head + `, "signing_algs": ["none"]}`:                                                                                                "'none'",
		`{` + head + `, "signing_algs": ["HS256"]}`:                                                                                               "'HS256'",
		`{` + head + `, "encryption_keys": ["secret"]}`:                                                                                           "must be a placeholder",
		`{` + head + `, "encryption_keys": ["{env.IDP_TEST_SECRET}"]}`:                                                                            "32 bytes in base64",
		`{` + head + `, "assertion_audience": "x"}`:                                                                                               "must be core or issuer",
		`{` + head + `, "brand": {"accent": "red"}}`:                                                                                              "#rrggbb",
		`{` + head + `, "brand": {"accent": "#ffffff"}}`:                                                                                          "contrast",
		`{` + head + `, "scopes": [null]}`:                                                                                                        "null",
		`{` + head + `, "scopes": [{}]}`:                                                                                                          "scope has no name",
		`{` + head + `, "scopes": [{"name": "a b"}]}`:                                                                                             "character",
		`{` + head + `, "scopes": [{"name": "a"}, {"name": "a"}]}`:                                                                                "scope 'a' is defined twice",
		`{` + head + `, "scopes": [{"name": "a", "claims": ["b", "b"]}]}`:                                                                         "claim 'b' is named twice",
		`{` + head + `, "clients": [null]}`:                                                                                                       "null",
		`{` + head + `, "clients": [{}]}`:                                                                                                         "client has no id",
		`{` + head + `, "clients": [{"id": "c"}]}`:                                                                                                "neither a secret nor a jwks",
		`{` + head + `, "clients": [{"id": "c", "secrets": [""]}]}`:                                                                               "secret is empty",
		`{` + head + `, "clients": [{"id": "c", "secrets": ["{env.NONE}"]}]}`:                                                                     "client 'c': secret is required, but the environment variable or file that {env.NONE} stands for",
		`{` + head + `, "clients": [{"id": "c", "secrets": ["x"], "scopes": ["a"]}]}`:                                                             "scope 'a' is not defined",
		`{` + head + `, "clients": [{"id": "c", "secrets": ["x"], "scopes": ["email", "email"]}]}`:                                                "named twice",
		`{` + head + `, "clients": [{"id": "c", "secrets": ["x"]}, {"id": "c", "secrets": ["y"]}]}`:                                               "client 'c' is defined twice",
		`{` + head + `, "clients": [{"id": "c", "secrets": ["x"], "auth_method": "private_key_jwt"}]}`:                                            "requires a jwks",
		`{` + head + `, "clients": [{"id": "c", "jwks": {"keys": []}}]}`:                                                                          "JWKS",
		`{` + head + `, "clients": [{"id": "c", "jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}]}`:                                               "JWKS",
		`{` + head + `, "clients": [{"id": "c", "jwks": {"keys": []}, "jwks_file": "x"}]}`:                                                        "only one of jwks, jwks_file and jwks_uri",
		`{` + head + `, "clients": [{"id": "c", "jwks_file": "/nowhere/keys.jwks"}]}`:                                                             "/nowhere/keys.jwks",
		`{` + head + `, "clients": [{"id": "c", "secrets": ["x"], "uri": "javascript:alert(1)"}]}`:                                                "must be an https URL",
		`{` + head + `, "users": [null]}`:                                                                                                         "null",
		`{` + head + `, "users": [{}]}`:                                                                                                           "user has no username",
		`{` + head + `, "users": [{"username": "anna"}]}`:                                                                                         "",
		`{` + head + `, "users": [{"username": "anna", "password": "pass"}]}`:                                                                     "caddy hash-password --algorithm argon2id",
		`{` + head + `, "users": [{"username": "anna", "password": "{env.IDP_TEST_SECRET}"}]}`:                                                    "caddy hash-password --algorithm argon2id",
		`{` + head + `, "users": [{"username": "anna", "password": "{env.NONE}"}]}`:                                                               "user 'anna': password is required, but the environment variable or file that {env.NONE} stands for",
		`{` + head + `, "users": [{"username": "anna berg", "password": "` + hash + `"}]}`:                                                        "usernames cannot have",
		`{` + head + `, "users": [{"username": "an\u202ena", "password": "` + hash + `"}]}`:                                                       "usernames cannot have",
		`{` + head + `, "users": [{"username": "ännä", "password": "` + hash + `"}]}`:                                                             "set one",
		`{` + head + `, "users": [{"username": "a", "password": "` + hash + `", "claims": {"sub": "b"}}]}`:                                        "claim 'sub' is set by the provider itself",
		`{` + head + `, "users": [{"username": "a", "password": "` + hash + `", "name": "A", "claims": {"name": "B"}}]}`:                          "given twice",
		`{` + head + `, "users": [{"username": "a", "password": "` + hash + `"}, {"username": "A", "password": "` + hash + `"}]}`:                 "user 'a' is defined twice",
		`{` + head + `, "users": [{"username": "a", "password": "` + hash + `"}, {"username": "b", "subject": "a", "password": "` + hash + `"}]}`: `"a"`,
		`{` + head + `, "store": {"engine": "redis"}}`:                                                                                            "ciba.stores.redis",
		`{` + head + `, "store": {}}`:                                                                                                             "engine",
	} {
		err := provision(t, config)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s\nis refused: %v", config, err)
		case want != "" && err == nil:
			t.Errorf("%s\nis taken", config)
		case want != "" && !strings.Contains(err.Error(), want):
			t.Errorf("%s\ngot  %v\nwant %s", config, err, want)
		case err != nil && strings.Contains(err.Error(), gatewaySecret):
			t.Errorf("%s\nthe error repeats a secret: %v", config, err)
		}
	}
}

// Keys come from a file, whose name may be a placeholder; anything but public
// keys is refused (threats.md C02).
func TestKeyFile(t *testing.T) {
	newServer(t)
	dir := t.TempDir()
	const public = `{"kty":"EC","crv":"P-256","alg":"ES256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	const private = `{"kty":"EC","crv":"P-256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`
	for content, want := range map[string]string{
		`{"keys":[` + public + `]}`:                "",
		`{"keys":[` + private + `]}`:               "not a valid public key",
		`{"keys":[` + public + `,` + public + `]}`: "given twice",
		`{"keys":[]}`:                              "JWKS",
		``:                                         "JSON Web Key Set",
		"-----BEGIN PUBLIC KEY-----":               "JSON Web Key Set",
		`{"keys":[]}` + strings.Repeat(" ", maxKeyFile+1): "larger than",
	} {
		name := filepath.Join(dir, "keys.jwks")
		err := os.WriteFile(name, []byte(content), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("IDP_TEST_KEYS", name)
		for _, configured := range []string{name, "{env.IDP_TEST_KEYS}"} {
			err = provision(t, `{"handler": "ciba_idp", "store": {"engine": "memory"}, "issuer": "https://id.example.com",
				"clients": [{"id": "c", "jwks_file": "`+configured+`"}]}`)
			switch {
			case want == "" && err != nil:
				t.Errorf("%.60q: %v", content, err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%.60q: got %v, want %s", content, err, want)
			case err != nil && strings.Contains(err.Error(), "jpsQnnGQmL"):
				t.Errorf("the error repeats a private key: %v", err)
			}
		}
	}
}

// Secrets stay placeholders in everything that can be printed of a handler
// (threats.md C03).
func TestHandlerHoldsNoSecret(t *testing.T) {
	s := newServer(t)
	s.load(site)
	handler := servedHandler(t)
	encoded, err := json.Marshal(handler)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{string(encoded), fmt.Sprintf("%+v", handler), fmt.Sprintf("%#v", handler)} {
		if strings.Contains(printed, gatewaySecret) || strings.Contains(printed, hashOf(annaPassword)) {
			t.Errorf("a secret is in %s", printed)
		}
	}
	if !strings.Contains(string(encoded), "{env.IDP_TEST_SECRET}") {
		t.Errorf("the placeholder is not in %s", encoded)
	}
}

// What is allowed and most likely not meant draws a warning that repeats no
// secret.
func TestWarnings(t *testing.T) {
	t.Setenv("IDP_TEST_SHORT", "short")
	cheap := "$2a$10$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6"
	core, logs := observer.New(zapcore.WarnLevel)
	h := &Handler{
		Issuer: "https://id.example.com",
		Clients: []*Client{
			{ID: "literal", Secrets: []string{gatewaySecret}},
			{ID: "short", Secrets: []string{"{env.IDP_TEST_SHORT}"}},
		},
		Users: []*User{
			{Username: "anna", Password: hashOf(annaPassword)},
			{Username: "ben", Password: cheap},
		},
		logger: zap.New(core),
	}
	err := h.check()
	if err != nil {
		t.Fatal(err)
	}
	_, warnings, err := h.resolve(caddy.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(warnings, "\n")
	for _, want := range []string{"client 'literal': the secret is written out", "client 'short': the secret is short", "differ in algorithm or cost"} {
		if strings.Count(all, want) != 1 {
			t.Errorf("%q is not once in:\n%s", want, all)
		}
	}
	if len(warnings) != 3 || strings.Contains(all, gatewaySecret) {
		t.Errorf("got warnings:\n%s", all)
	}

	err = h.Validate()
	if err != nil || logs.Len() != 0 {
		t.Errorf("clients and users are there: %v, %d warnings", err, logs.Len())
	}
	h.Clients, h.Users = nil, nil
	err = h.Validate()
	if err != nil || logs.Len() != 2 {
		t.Errorf("neither clients nor users: %v, %d warnings", err, logs.Len())
	}
}
