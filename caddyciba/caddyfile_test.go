package caddyciba

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the adapted JSON into the golden files")

const goldenSeparator = "\n----------\n"

// TestAdapt compares what Caddyfiles become, or what is said about mistakes in
// them. threats.md C01, C03, C04, C10 and the list of design.md section 3.5.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d golden files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, ok := strings.Cut(string(content), goldenSeparator)
			if !ok {
				t.Fatal("no separator")
			}
			want = strings.TrimSpace(want)
			config, err := adapt(t, caddyfile+"\n")
			if strings.HasPrefix(filepath.Base(file), "error_") {
				if err == nil {
					t.Fatalf("was accepted: %s", config)
				}
				if want == "" || !strings.Contains(err.Error(), want) {
					t.Errorf("error is\n%v\nand does not contain\n%s", err, want)
				}
				if !strings.Contains(want, "unrecognized matcher") && !strings.Contains(err.Error(), "Caddyfile:") {
					// Caddy itself does not say where a matcher is missing.
					t.Errorf("error does not name file and line: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var indented bytes.Buffer
			err = json.Indent(&indented, config, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			got := indented.String()
			if *update {
				err = os.WriteFile(file, []byte(caddyfile+goldenSeparator+got+"\n"), 0o644)
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("adapted to\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// A password in an issuer must not be repeated by the error, which ends up in
// logs and terminals.
func TestErrorKeepsSecret(t *testing.T) {
	for _, issuer := range []string{"https://user:hunter2@id.example.com", "https://user:hunter2@id.example.com:port/%zz"} {
		_, err := adapt(t, "example.com {\n\tciba "+issuer+"\n}\n")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error for %s: %v", issuer, err)
		}
	}
}
