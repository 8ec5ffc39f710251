package caddyaudit

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/audit"
)

func newKeep(t *testing.T) Keep {
	t.Helper()
	s := store.NewMemory(store.Options{})
	same := func(_ context.Context, _ string, data []byte) ([]byte, error) { return data, nil }
	return func() (*audit.Keeper, func() error, error) {
		return &audit.Keeper{Store: s, Kind: "test", Seal: same, Open: same}, s.Close, nil
	}
}

func TestOptions(t *testing.T) {
	for text, want := range map[string]Options{
		"audit /a.log": {File: "/a.log"},
		"audit {\n file /a.log\n node n1\n max_size 1MiB\n on_failure continue\n}": {File: "/a.log", Node: "n1", MaxSize: 1 << 20, OnFailure: Continue},
	} {
		d := caddyfile.NewTestDispenser(text)
		d.Next()
		var o Options
		err := o.UnmarshalCaddyfile(d)
		if err != nil || o != want {
			t.Errorf("%s: %+v, %v", text, o, err)
		}
	}
	for _, text := range []string{
		"audit", "audit /a /b", "audit /a {\n file /b\n}", "audit {\n file\n}", "audit /a {\n max_size 1\n}", "audit /a {\n max_size x\n}",
		"audit /a {\n on_failure ask\n}", "audit /a {\n sync\n}", "audit /a {\n rotate 1\n}", "audit /a {\n node a\n node b\n}",
	} {
		d := caddyfile.NewTestDispenser(text)
		d.Next()
		err := new(Options).UnmarshalCaddyfile(d)
		if err == nil || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Two users share a log, whose end the last one writes, and the command verifies it.
func TestSharedLogAndCommand(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	keeper := newKeep(t)
	t.Setenv("AUDIT_DIR", t.TempDir())
	o := &Options{File: "{env.AUDIT_DIR}/audit.log", Node: "n1"}
	path := filepath.Join(os.Getenv("AUDIT_DIR"), "audit.log")
	first, err := Acquire(o, keeper, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Acquire(o, keeper, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	err = first.Write(t.Context(), audit.Entry{Event: "sent"}, true)
	if err != nil {
		t.Fatal(err)
	}
	err = first.Release()
	if err != nil {
		t.Fatal(err)
	}
	second.Note(t.Context(), audit.Entry{Event: "answered"})
	err = second.Release()
	if err != nil {
		t.Fatal(err)
	}
	signed := logged.FilterMessage("audit log was signed").All()
	if len(signed) != 2 {
		t.Fatalf("%d checkpoints were logged", len(signed))
	}
	checkpoint := signed[1].ContextMap()["checkpoint"].(string)

	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := Command()
		cmd.SetArgs(append([]string{"verify"}, args...))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		err := cmd.Execute()
		return out.String(), err
	}
	out, err := run(path, "--checkpoint", checkpoint)
	if err != nil || !strings.Contains(out, "ok: lines 1 to 6") || !strings.Contains(out, checkpoint) {
		t.Errorf("%v: %s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(out, "key: ")
	key, _, _ = strings.Cut(key, "\n")
	_, err = run(path, "--key", key)
	if err != nil {
		t.Error(err)
	}
	forged := filepath.Join(t.TempDir(), "forged.log")
	err = os.WriteFile(forged, bytes.Replace(text, []byte(`"answered"`), []byte(`"in_doubt"`), 1), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = run(forged)
	if err == nil || !strings.Contains(err.Error(), forged+":4:") {
		t.Errorf("error is %v", err)
	}
	for _, args := range [][]string{{}, {path, "--key", "x"}, {path, "--checkpoint", "x"}, {path + ".missing"}} {
		_, err = run(args...)
		if err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

// What a log that takes nothing does to those who write.
func TestOnFailure(t *testing.T) {
	for _, mode := range []string{"", Refuse, Continue} {
		core, logged := observer.New(zap.ErrorLevel)
		o := &Options{File: filepath.Join(t.TempDir(), "missing", "audit.log"), OnFailure: mode}
		h, err := Acquire(o, newKeep(t), zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		err = h.Write(t.Context(), audit.Entry{Event: "sent"}, true)
		if (err == nil) != (mode == Continue) || (logged.Len() == 1) != (mode == Continue) {
			t.Errorf("%s: %v, %d lines", mode, err, logged.Len())
		}
		err = h.Release()
		if err != nil {
			t.Error(err)
		}
	}
	_, err := Acquire(&Options{File: "{env.NOT_THERE}"}, newKeep(t), zap.NewNop())
	if err == nil {
		t.Error("a file without a name was taken")
	}
}
