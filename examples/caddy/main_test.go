package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// readEnvironment returns the variables of example.env.
func readEnvironment(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("example.env")
	if err != nil {
		t.Fatal(err)
	}
	environment := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if found && !strings.HasPrefix(line, "#") {
			environment[name] = value
		}
	}
	if len(environment) == 0 {
		t.Fatal("example.env is empty")
	}
	return environment
}

// readExample returns Caddyfile.example.
func readExample(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// setUp sets the environment but for one variable, and keeps Caddy out of the
// user's directories.
func setUp(t *testing.T, without string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	for name, value := range readEnvironment(t) {
		if name == without {
			value = ""
		}
		t.Setenv(name, value)
	}
}

// validate does what `caddy validate` does.
func validate(t *testing.T, content []byte) error {
	t.Helper()
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(content, map[string]any{"filename": "Caddyfile.example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range warnings {
		t.Errorf("adapting warns: %s", warning)
	}
	for name, value := range readEnvironment(t) {
		if strings.Contains(string(config), value) {
			t.Errorf("the value of %s is in the adapted config", name)
		}
	}
	var parsed caddy.Config
	err = json.Unmarshal(config, &parsed)
	if err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&parsed)
}

func TestExampleIsValid(t *testing.T) {
	setUp(t, "")
	content := readExample(t)
	if string(caddyfile.Format(content)) != string(content) {
		t.Error("the example is not formatted; run: caddy fmt --overwrite Caddyfile.example")
	}
	err := validate(t, content)
	if err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(caddy.AppDataDir() + "/ciba")
	if err == nil {
		t.Errorf("validating left %v behind", entries)
	}
}

// Whoever forgets a variable must learn which one. That of the caller's password
// is Caddy's own to explain.
func TestExampleNamesMissingVariable(t *testing.T) {
	for name := range readEnvironment(t) {
		t.Run(name, func(t *testing.T) {
			setUp(t, name)
			content := readExample(t)
			if !strings.Contains(string(content), "{env."+name+"}") {
				t.Fatalf("the example does not use %s", name)
			}
			err := validate(t, content)
			if err == nil {
				t.Fatal("the example is valid without it")
			}
			if name != "TELLER_PASSWORD_HASH" && !strings.Contains(err.Error(), "{env."+name+"}") {
				t.Errorf("the error does not name it: %v", err)
			}
		})
	}
}

// The example explains every variable that it uses.
func TestExampleExplainsVariables(t *testing.T) {
	content, environment := string(readExample(t)), readEnvironment(t)
	for _, use := range regexp.MustCompile(`\{env\.([A-Z_]+)\}`).FindAllStringSubmatch(content, -1) {
		name := use[1]
		if environment[name] == "" && !slices.Contains([]string{"NAME", "CIBA_CLIENT_ID", "CIBA_CLIENT_SECRET"}, name) {
			t.Errorf("example.env does not set %s", name)
		}
	}
	for name := range environment {
		if !regexp.MustCompile(`(?m)^#\t` + name + ` `).MatchString(content) {
			t.Errorf("the head of the example does not explain %s", name)
		}
	}
}

// The example shows every option of both directives, as the code reads them.
func TestExampleIsComplete(t *testing.T) {
	content := string(readExample(t))
	sources, err := filepath.Glob("../../idp/caddyfile*.go")
	if err != nil {
		t.Fatal(err)
	}
	sources = append(sources, "../../caddyciba/caddyfile.go", "../../caddyciba/globaloption.go", "../../caddyciba/provideroptions.go")
	found := 0
	for _, source := range sources {
		code, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		options := regexp.MustCompile(`(?m)^\s*case "([a-z_]+)":$`).FindAllStringSubmatch(string(code), -1)
		found += len(options)
		for _, option := range options {
			if !regexp.MustCompile(`(?m)^\s*(# |#\t)?` + option[1] + `\b`).MatchString(content) {
				t.Errorf("the example does not show the option %s of %s", option[1], source)
			}
		}
	}
	if found < 80 {
		t.Errorf("found %d options only", found)
	}
}
