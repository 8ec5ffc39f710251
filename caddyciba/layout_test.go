package caddyciba

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

const module = "github.com/caddyciba/gateway"

// root is the top of the repository, seen from this package.
const root = ".."

// TestImports keeps the two modules apart from each other and the cores apart
// from Caddy (design.md section 2).
func TestImports(t *testing.T) {
	tests := []struct {
		pkg       string
		forbidden []string
	}{
		{"/caddyciba", []string{module + "/idp"}},
		{"/caddyciba/ciba", []string{module + "/idp", "github.com/caddyserver/", module + "/caddyciba/stepup", module + "/caddyciba/store", "go.uber.org/zap"}},
		{"/caddyciba/stepup/...", []string{module + "/idp", "github.com/caddyserver/"}},
		{"/caddyciba/store", []string{module + "/idp", "github.com/caddyserver/", module + "/caddyciba/ciba", module + "/caddyciba/stepup"}},
		{"/caddyciba/store/audit", []string{module + "/idp", "github.com/caddyserver/", module + "/caddyciba/ciba", module + "/caddyciba/stepup"}},
		// The tests of both modules use it.
		{"/caddyciba/browsertest", []string{module + "/idp", "github.com/caddyserver/", module + "/caddyciba/ciba", module + "/caddyciba/stepup", module + "/caddyciba/store"}},
		{"/idp", []string{module + "/caddyciba/ciba", module + "/caddyciba/stepup"}},
		{"/idp/provider/...", []string{"github.com/caddyserver/", module + "/idp/approval", module + "/caddyciba/ciba", module + "/caddyciba/stepup"}},
		{"/idp/approval/...", []string{"github.com/caddyserver/", module + "/caddyciba/ciba", module + "/caddyciba/stepup"}},
	}
	for _, tt := range tests {
		t.Run(tt.pkg, func(t *testing.T) {
			deps := strings.Fields(run(t, "go", "list", "-deps", module+tt.pkg))
			if len(deps) < 10 {
				t.Fatalf("only %d dependencies", len(deps))
			}
			for _, dep := range deps {
				if tt.pkg == "/idp" && dep == module+"/caddyciba" {
					t.Errorf("%s depends on %s", tt.pkg, dep)
				}
				for _, prefix := range tt.forbidden {
					if strings.HasPrefix(dep, prefix) {
						t.Errorf("%s depends on %s", tt.pkg, dep)
					}
				}
			}
		})
	}
}

// goFiles are all Go files of the repository.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d files, %v", len(files), err)
	}
	return files
}

// TestFileLength keeps files small enough to have one reason to change.
func TestFileLength(t *testing.T) {
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(content, []byte("\n")); n > 400 {
			t.Errorf("%s has %d lines", file, n)
		}
	}
}

// TestBrowserSteps keeps steps out of the tests that fail when a page is loaded anew
// under them; browsertest has others.
func TestBrowserSteps(t *testing.T) {
	fragile := regexp.MustCompile(`chromedp\.(Click|DoubleClick|Tap|SendKeys|SetValue|SetUploadFiles|Submit|Focus|Text|Nodes|Query|Wait\w+|Navigate\w*|Reload|RunResponse|Poll\w*)\b`)
	for _, file := range goFiles(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := fragile.Find(content); found != nil && strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s uses %s", file, found)
		}
	}
}

// TestFieldComments checks that every field of a configuration has the comment
// that becomes its documentation.
func TestFieldComments(t *testing.T) {
	fields := 0
	for _, file := range goFiles(t) {
		dir := filepath.Base(filepath.Dir(file))
		if strings.HasSuffix(file, "_test.go") || !slices.Contains([]string{"caddyciba", "idp", "caddystore", "caddyaudit"}, dir) {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			spec, ok := node.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() {
				return true
			}
			structure, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range structure.Fields.List {
				if field.Tag == nil || len(field.Names) == 0 || !field.Names[0].IsExported() {
					continue
				}
				name := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json")
				if name == "" || name == "-" {
					continue
				}
				fields++
				if !strings.HasSuffix(strings.TrimSpace(field.Doc.Text()), ".") {
					t.Errorf("%s: %s.%s has no full sentence as its comment", file, spec.Name, field.Names[0])
				}
				if !regexp.MustCompile(`^[a-z0-9_]+(,omitempty)?$`).MatchString(name) {
					t.Errorf("%s: %s.%s has the JSON name %q", file, spec.Name, field.Names[0], name)
				}
			}
			return true
		})
	}
	if fields < 10 {
		t.Errorf("found only %d fields", fields)
	}
}

// TestStrictJSON is threats.md C13: unknown fields, wrong types and null.
func TestStrictJSON(t *testing.T) {
	for _, config := range []string{
		`{"apps":{"ciba":{"shop":{}}}}`,
		`{"apps":{"ciba":{"providers":{"corp":{"issuer":"https://id.example.com","deliver":"push"}}}}}`,
		`{"apps":{"ciba":{"providers":{"corp":null}}}}`,
		`{"apps":{"ciba":{"providers":{"corp":{"issuer":7}}}}}`,
		`{"apps":{"ciba":{"store":{"engine":"memory","size":1}}}}`,
		gateJSON(`"provider":"corp"`),
		gateJSON(`"issuer":"https://id.example.com","provider":"corp"`),
		gateJSON(`"customer":"alice"`),
		gateJSON(`"issuer":"https://id.example.com","when":"{ciba.body.a}"`),
		gateJSON(`"issuer":"https://id.example.com","shop":"true"`),
		gateJSON(`"issuer":"https://id.example.com","limits":[{"per":"site","count":1}]`),
		gateJSON(`"issuer":"https://id.example.com","details":{"fields":{}}`),
		gateJSON(`"issuer":"https://id.example.com","namespaces":{"a":"urn:a"},"message":"{ciba.body.b:c}"`),
		gateJSON(`"issuer":"https://id.example.com","hold":"soon"`),
		gateJSON(`"issuer":"https://id.example.com","hold":"-5s"`),
		gateJSON(`"issuer":"https://id.example.com","max_body":-1`),
		gateJSON(`"issuer":"https://id.example.com","scope":["a b"]`),
		gateJSON(`"issuer":"https://id.example.com","token":"Content-Length"`),
		gateJSON(`"issuer":"https://id.example.com","message":"{ciba.nothing}"`),
		gateJSON(`"issuer":"http://id.example.com"`),
	} {
		err := validate([]byte(config))
		if err == nil {
			t.Errorf("was accepted: %s", config)
		}
	}
	// The server's write timeout is 3 minutes.
	err := validate([]byte(gateJSON(`"issuer":"https://id.example.com","hold":"3m"`)))
	if err == nil || !strings.Contains(err.Error(), "hold of 3m0s is not shorter than server s's write timeout of 3m0s") {
		t.Errorf("hold as long as the write timeout: %v", err)
	}
	err = validate([]byte(gateJSON(`"issuer":"https://id.example.com","hold":"30s"`)))
	if err != nil {
		t.Errorf("a correct gate was refused: %v", err)
	}
}

func gateJSON(settings string) string {
	return `{"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"write_timeout":"3m","routes":[{"handle":[{"handler":"ciba",` + settings + `}]}]}}}}}`
}

// validate does what `caddy validate` does.
func validate(config []byte) error {
	var c caddy.Config
	err := caddy.StrictUnmarshalJSON(config, &c)
	if err != nil {
		return err
	}
	return caddy.Validate(&c)
}

// xcaddyBuilder is what xcaddy's Builder reads from JSON.
type xcaddyBuilder struct {
	CaddyVersion string `json:"caddy_version"`
	Plugins      []struct {
		ModulePath string `json:"module_path"`
		Version    string `json:"version"`
	} `json:"plugins"`
	Replacements []struct {
		Old string `json:"old"`
		New string `json:"new"`
	} `json:"replacements"`
}

// TestXcaddyJSON keeps the build list true.
func TestXcaddyJSON(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var builder xcaddyBuilder
	err = decoder.Decode(&builder)
	if err != nil {
		t.Fatal(err)
	}
	required := strings.TrimSpace(run(t, "go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2"))
	if builder.CaddyVersion != required {
		t.Errorf("xcaddy.json builds Caddy %s, go.mod requires %s", builder.CaddyVersion, required)
	}
	var paths []string
	for _, plugin := range builder.Plugins {
		paths = append(paths, plugin.ModulePath)
		if plugin.Version != "" && len(builder.Replacements) > 0 {
			t.Errorf("plugin %s has a version beside replacements", plugin.ModulePath)
		}
		dir := filepath.Join(root, strings.TrimPrefix(plugin.ModulePath, module))
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		registers := slices.ContainsFunc(files, func(file string) bool {
			content, err := os.ReadFile(file)
			return err == nil && bytes.Contains(content, []byte("caddy.RegisterModule("))
		})
		if !registers {
			t.Errorf("%s registers no module", plugin.ModulePath)
		}
	}
	if want := []string{module + "/caddyciba", module + "/idp"}; !slices.Equal(paths, want) {
		t.Errorf("plugins are %v, want %v", paths, want)
	}
}

// TestExample adapts and validates the example with a binary that has both
// modules, as an operator would.
func TestExample(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "caddy")
	run(t, "go", "build", "-o", binary, module+"/examples/caddy")
	modules := run(t, binary, "list-modules", "--skip-standard")
	for _, id := range []string{"ciba", "ciba.stores.bolt", "ciba.stores.memory", "http.handlers.ciba", "http.handlers.ciba_strict_target", "http.handlers.ciba_idp"} {
		if !slices.Contains(strings.Fields(modules), id) {
			t.Errorf("module %s is missing from %s", id, modules)
		}
	}
	example := filepath.Join(root, "Caddyfile.example")
	run(t, binary, "adapt", "--config", example, "--adapter", "caddyfile")
	// Its secrets come from the environment, and without them it is not valid.
	secrets := filepath.Join(root, "examples", "caddy", "example.env")
	run(t, binary, "validate", "--config", example, "--adapter", "caddyfile", "--envfile", secrets)

	form := filepath.Join(root, "examples", "browser-form")
	run(t, binary, "validate", "--config", filepath.Join(form, "Caddyfile"), "--adapter", "caddyfile", "--envfile", filepath.Join(form, "example.env"))
}

// environ is the environment before TestMain sends Caddy's files elsewhere. The
// Go tool finds its caches by it; without them it would compile, and download,
// everything that Caddy consists of.
var environ = os.Environ()

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	if name == "go" {
		cmd.Env = environ
	}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String()))
	}
	return stdout.String()
}
