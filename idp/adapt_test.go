package idp_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/caddytest"

	_ "github.com/caddyciba/gateway/idp"
)

// divider separates a Caddyfile from what becomes of it.
const divider = "----------"

// TestAdapt adapts each Caddyfile of testdata/adapt. Below the divider is the
// JSON that it becomes, or the error that it must give.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before, after, found := strings.Cut(string(data), divider+"\n")
			if !found {
				t.Fatalf("%s has no divider", file)
			}
			input, want := strings.TrimSpace(before)+"\n", strings.TrimSpace(after)
			if want == "" {
				t.Fatalf("%s expects nothing", file)
			}
			if strings.HasPrefix(want, "{") {
				if !caddytest.CompareAdapt(t, file, input, "caddyfile", want) {
					t.Error("the adapted JSON differs")
				}
				return
			}
			_, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
			if err == nil {
				t.Fatalf("no error, want: %s", want)
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("got error:\n%s\nwant:\n%s", err, want)
			}
			if !strings.Contains(want, "Caddyfile:") {
				t.Errorf("the expected error names no file and line: %s", want)
			}
		})
	}
}

// TestAdaptIsComplete checks that each option of the directive and of its modules
// becomes JSON in at least one golden file.
func TestAdaptIsComplete(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/[^e]*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input, _, _ := strings.Cut(string(data), divider)
		all.WriteString(input)
	}
	sources, err := filepath.Glob("caddyfile*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, source := range sources {
		code, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, option := range regexp.MustCompile(`(?m)^\s*case "([a-z_]+)":$`).FindAllStringSubmatch(string(code), -1) {
			found++
			if !regexp.MustCompile(`(?m)^\s*` + option[1] + `\b`).MatchString(all.String()) {
				t.Errorf("no golden file shows the option %s of %s", option[1], source)
			}
		}
	}
	if found < 80 {
		t.Errorf("found %d options only", found)
	}
}
