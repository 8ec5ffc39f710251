package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	err := os.WriteFile(file, []byte("from the file\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if s.secret != demoSecret || len(s.message) != 10 || s.scope != "openid profile my_wire_transfer_scope" {
		t.Errorf("defaults: %+v", s)
	}
	s, err = parse([]string{"-client-secret-file", file, "-binding-message", "AB12"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if s.secret != "from the file" || s.message != "AB12" {
		t.Errorf("flags: %+v", s)
	}
	for _, args := range [][]string{
		{"-client-secret", "a", "-client-secret-file", file},
		{"-client-secret-file", filepath.Join(t.TempDir(), "missing")},
		{"-expiry", "soon"},
		{"stray"},
	} {
		_, err := parse(args, io.Discard)
		if err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestPrintClaims(t *testing.T) {
	var out bytes.Buffer
	err := printClaims(&out, map[string]any{"sub": "alice", "exp": 1893456000.0, "aud": []any{"bank"}, "n": 2.0})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || lines[0] != `aud  ["bank"]` || !strings.HasPrefix(lines[1], "  exp  1893456000 (2") || lines[2] != "  n    2" || lines[3] != "  sub  alice" {
		t.Errorf("printed:\n%s", &out)
	}
}
