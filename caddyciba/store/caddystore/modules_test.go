package caddystore

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// host is a module that has a store, as the gateway and the provider do.
type host struct {
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ciba.stores inline_key=engine"`
}

func load(t *testing.T, raw string) (Engine, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	module, err := ctx.LoadModule(&host{StoreRaw: json.RawMessage(raw)}, "StoreRaw")
	if err != nil {
		return nil, err
	}
	return module.(Engine), nil
}

func TestModules(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("CIBA_TEST_DIR", "/var/lib/bank")
	dataDir := caddy.AppDataDir()
	tests := []struct{ caddyfile, json, key string }{
		{"bolt", `{"engine":"bolt"}`, "bolt\x00" + filepath.Join(dataDir, "ciba", "ciba.db")},
		{"bolt /srv/x/../ciba.db", `{"engine":"bolt","path":"/srv/x/../ciba.db"}`, "bolt\x00/srv/ciba.db"},
		{"bolt {\n\tpath {env.CIBA_TEST_DIR}/ciba.db\n}", `{"engine":"bolt","path":"{env.CIBA_TEST_DIR}/ciba.db"}`, "bolt\x00/var/lib/bank/ciba.db"},
		{"memory", `{"engine":"memory"}`, "memory\x00default"},
		{"memory default", `{"engine":"memory","name":"default"}`, "memory\x00default"},
		{"memory {\n\tname other\n}", `{"engine":"memory","name":"other"}`, "memory\x00other"},
	}
	for _, test := range tests {
		t.Run(test.caddyfile, func(t *testing.T) {
			raw, err := adapt(test.caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			if string(raw) != test.json {
				t.Errorf("adapted to %s, want %s", raw, test.json)
			}
			engine, err := load(t, string(raw))
			if err != nil {
				t.Fatal(err)
			}
			if engine.Key() != test.key {
				t.Errorf("key %q, want %q", engine.Key(), test.key)
			}
		})
	}
	_, err := os.Stat(dataDir)
	if !os.IsNotExist(err) {
		t.Errorf("provisioning touched the data directory: %v", err)
	}
}

// adapt does what a directive does with "store <engine> ...".
func adapt(input string) (json.RawMessage, error) {
	d := caddyfile.NewTestDispenser(input)
	d.Next()
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "ciba.stores."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, "engine", name, nil), nil
}

func TestCaddyfileErrors(t *testing.T) {
	tests := []struct{ caddyfile, want string }{
		{"bolt a b", "wrong argument count"},
		{`bolt ""`, "path must not be empty"},
		{"bolt a {\n\tpath b\n}", "path already specified: a"},
		{"bolt {\n\tpath a\n\tpath b\n}", "path already specified: a, at Testfile:3"},
		{"bolt {\n\tpath\n}", "wrong argument count"},
		{"bolt {\n\tpath \"\"\n}", "path must not be empty"},
		{"bolt {\n\tpath a b\n}", "wrong argument count"},
		{"bolt {\n\tmode 0600\n}", "unrecognized subdirective 'mode', at Testfile:2"},
		{"memory a b", "wrong argument count"},
		{"memory {\n\tpath a\n}", "unrecognized subdirective 'path'"},
	}
	for _, test := range tests {
		_, err := adapt(test.caddyfile)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got error %v, want %q", test.caddyfile, err, test.want)
		}
	}
}

func TestJSONErrors(t *testing.T) {
	for raw, want := range map[string]string{
		`{"engine":"bolt","file":"x"}`:                          `unknown field "file"`,
		`{"engine":"bolt","path":"{env.CIBA_TEST_UNSET}/x"}`:    "resolving path of bolt store",
		`{"engine":"bolt","path":"{no.such.placeholder}/x.db"}`: "resolving path of bolt store",
	} {
		_, err := load(t, raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %q", raw, err, want)
		}
	}
}

func TestEnginesOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ciba.db")
	for _, raw := range []string{`{"engine":"memory"}`, `{"engine":"bolt","path":"` + path + `"}`} {
		engine, err := load(t, raw)
		if err != nil {
			t.Fatal(err)
		}
		h := acquireT(t, engine)
		r := &store.Record{Kind: "k", ID: "a"}
		err = h.Create(t.Context(), r)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	// An engine that cannot open says so with a nil store.
	s, err := (&Bolt{path: filepath.Join(path, "below.db")}).Open(t.Context())
	if err == nil || s != nil {
		t.Errorf("Open below a file: %v, %v", s, err)
	}
}
