package interop_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// examples is where each folder of one kind of provider or caller is.
const examples = "../../examples"

// TestExamples loads the Caddyfile of each of these examples, with the variables of
// its example.env, and finds every variable explained there.
func TestExamples(t *testing.T) {
	for _, name := range []string{"keycloak", "duende", "auth0", "oidc-provider", "batch", "agent"} {
		t.Run(name, func(t *testing.T) {
			setEnvironment(t, filepath.Join(examples, name, "example.env"), nil)
			config := adaptExample(t, name)
			err := caddy.Validate(config)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// adaptExample reads an example's Caddyfile, which has to be formatted and must not
// be warned about.
func adaptExample(t *testing.T, name string) *caddy.Config {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(examples, name, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	data, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(content, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range warnings {
		t.Errorf("warning: %s", warning)
	}
	if bytes.Contains(data, []byte("{$")) {
		t.Errorf("a variable is not set: %s", data)
	}
	config := new(caddy.Config)
	err = json.Unmarshal(data, config)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// setEnvironment sets the variables of a file, or what the test has for them.
func setEnvironment(t *testing.T, file string, instead map[string]string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			t.Fatalf("line %q", line)
		}
		value = strings.Trim(value, "'")
		other, given := instead[name]
		if given {
			value = other
		}
		t.Setenv(name, value)
	}
}
