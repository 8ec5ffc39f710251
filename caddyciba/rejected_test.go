package caddyciba

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// unwilling is an app that does not start.
type unwilling struct{}

func init() { caddy.RegisterModule(unwilling{}) }

// CaddyModule returns the Caddy module information.
func (unwilling) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ciba_test_unwilling", New: func() caddy.Module { return new(unwilling) }}
}

// Start implements caddy.App.
func (unwilling) Start() error { return errors.New("no") }

// Stop implements caddy.App.
func (unwilling) Stop() error { return nil }

// A configuration that is rejected while it starts leaves gates to the one that
// goes on: their logs, events and servers.
func TestRejectedReload(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, gateBlock(op, b))
	var g *gate
	gates.Range(func(_, value any) bool { g = value.(*gate); return false })
	reports, servers := g.reports.Load(), g.servers.Load()

	config, err := adapt(t, s.build("header X-Version 2\n"+gateBlock(op, b)))
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]map[string]any
	err = json.Unmarshal(append(append([]byte(`{"x":`), config...), '}'), &document)
	if err != nil {
		t.Fatal(err)
	}
	document["x"]["apps"].(map[string]any)["ciba_test_unwilling"] = map[string]any{}
	rejected, err := json.Marshal(document["x"])
	if err != nil {
		t.Fatal(err)
	}
	// Caddy starts apps in any order, so it takes some turns until the gate's comes
	// before the one that fails.
	for range 16 {
		err = caddy.Load(rejected, true)
		if err == nil {
			t.Fatal("the configuration was not rejected")
		}
		if g.reports.Load() != reports || g.servers.Load() != servers {
			t.Fatal("the gate belongs to the configuration that was rejected")
		}
	}
	if got := s.post("/transfers", transfer); got.status != 201 {
		t.Errorf("got %+v", got)
	}
	err = s.load("header X-Version 3\n" + gateBlock(op, b))
	if err != nil {
		t.Fatal(err)
	}
	if g.reports.Load() == reports {
		t.Error("the gate does not belong to the newest configuration")
	}
}

// Operators see what the check of all targets has refused, without what an
// attacker wrote.
func TestStrictTargetIsLogged(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	log := filepath.Join(t.TempDir(), "caddy.log")
	s := newSite(t, memoryStore)
	build := s.build
	s.build = func(body string) string {
		return strings.Replace(build(body), "level ERROR", "level INFO\n\t\toutput file "+log, 1)
	}
	err := s.load(gateBlock(op, b))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.post("/secret%2ftransfers", transfer); got.status != 400 {
		t.Fatalf("got %+v", got)
	}
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte(`"problem":"noncanonical-target"`)) || bytes.Contains(content, []byte("secret")) {
		t.Errorf("the log is\n%s", content)
	}
}
