package approval

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// own replaces templates.
func own(name, content string) func(*provider.Config, *Config) {
	return func(_ *provider.Config, c *Config) { c.Templates = map[string][]byte{name: []byte(content)} }
}

// original returns one of our own templates, changed.
func original(t *testing.T, name string, change ...string) string {
	t.Helper()
	raw, err := templateFiles.ReadFile("templates/" + name)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(change...).Replace(string(raw))
	if changed == string(raw) {
		t.Fatalf("nothing changed in %s", name)
	}
	return changed
}

// An operator's file takes the place of ours, in every language, and the style sheet
// comes behind ours.
func TestOwnTemplates(t *testing.T) {
	g := newRig(t, own("page_offline.html", `{{define "title"}}{{t "offline.title"}}{{end}}{{define "content"}}<h1>Ring us</h1>{{end}}`))
	if body := g.browser().get("/offline").Body.String(); !strings.Contains(body, "<h1>Ring us</h1>") {
		t.Errorf("not replaced:\n%s", body)
	}
	g = newRig(t, own("parts.html", original(t, "parts.html", `class="hero-amount"`, `class="hero-amount huge"`)), withPayment)
	_, id := g.pay("alice", "Invoice 4711")
	if body := g.signedIn("alice").get("/requests/" + id).Body.String(); !strings.Contains(body, "huge") {
		t.Errorf("a part is not replaced:\n%s", body)
	}
	g = newRig(t, own(StyleFile, ".title { letter-spacing: 0; }"))
	css := g.browser().get(g.app.assets.urls["app.css"]).Body.Bytes()
	if !bytes.HasSuffix(css, []byte(".title { letter-spacing: 0; }")) {
		t.Error("the style sheet is not at the end")
	}
}

// What would break in front of a customer is found at the start.
func TestOwnTemplatesAreChecked(t *testing.T) {
	const shell = `{{define "title"}}x{{end}}{{define "content"}}`
	for name, test := range map[string]struct{ file, content, want string }{
		"mistyped name":   {"page_ends.html", "", `no template "page_ends.html"`},
		"folder":          {"../page_end.html", "", "no template"},
		"syntax":          {"page_end.html", "{{if}}", "page_end.html:1"},
		"no title":        {"page_end.html", `{{define "content"}}{{end}}`, `"title"`},
		"no content":      {"page_end.html", `{{define "title"}}{{end}}`, `"content"`},
		"no layout":       {"layout.html", `{{define "other"}}{{end}}`, "layout"},
		"unknown field":   {"page_end.html", shell + `{{.Data.Amount}}{{end}}`, "Amount"},
		"unknown part":    {"page_end.html", shell + `{{template "nowhere" .}}{{end}}`, "nowhere"},
		"unknown word":    {"page_end.html", shell + `{{t "end.nothing"}}{{end}}`, "end.nothing"},
		"not safe":        {"page_end.html", shell + `<a href={{.Data.Kind}}"x>{{end}}`, "end"},
		"nobody can deny": {"page_request.html", original(t, "page_request.html", `value="deny"`, `value="no"`), `value="deny"`},
		"no token":        {"page_request.html", original(t, "page_request.html", `name="token" value="{{.Token}}"`, ""), "example-token"},
		"too large":       {"page_end.html", strings.Repeat("x", maxTemplate+1), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			cfg := g.app.cfg
			cfg.Store = store.NewMemory(store.Options{})
			own(test.file, test.content)(nil, &cfg)
			_, err := New(cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Our own pages pass the check that others must pass.
func TestExamplesFitOurPages(t *testing.T) {
	g := newRig(t, own(StyleFile, "/* no change */"))
	err := g.app.checkPages()
	if err != nil {
		t.Error(err)
	}
}
