package approval

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// workerKnows reads what the service worker was given.
func workerKnows(t *testing.T, body string) workerShell {
	t.Helper()
	line, _, _ := strings.Cut(body, "\n")
	line, ok := strings.CutPrefix(line, "const shell = ")
	if !ok {
		t.Fatalf("the service worker begins with %q", line)
	}
	var shell workerShell
	err := json.Unmarshal([]byte(strings.TrimSuffix(line, ";")), &shell)
	if err != nil {
		t.Fatal(err)
	}
	return shell
}

// The service worker keeps files that are the same for everybody and never a page
// with data, and looks after the app's own pages alone.
func TestWorkerKeepsNothingOfAnybody(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	w := b.get("/service-worker.js")
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-cache" || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
	shell := workerKnows(t, w.Body.String())
	if !slices.Contains(shell.Pages, "/") || slices.Contains(shell.Pages, "/events") {
		t.Errorf("pages %q", shell.Pages)
	}
	below := newRig(t, func(_ *provider.Config, c *Config) { c.PublicURL = testPublic + "/approvals" })
	elsewhere := workerKnows(t, below.browser().get("/approvals/service-worker.js").Body.String())
	for _, path := range slices.Concat(elsewhere.Pages, elsewhere.Below, elsewhere.Files, []string{elsewhere.Offline, elsewhere.Icon}) {
		if !strings.HasPrefix(path, "/approvals/") {
			t.Errorf("%s is not below the base path", path)
		}
	}
	for _, url := range append(shell.Files, shell.Offline) {
		mine, others := b.get(url), g.browser().get(url)
		if mine.Code != http.StatusOK || mine.Body.String() != others.Body.String() {
			t.Errorf("%s: %d, and not the same for everybody", url, mine.Code)
		}
		if strings.Contains(mine.Body.String(), "Alice") || len(mine.Result().Cookies()) > 0 {
			t.Errorf("%s says something about who is signed in", url)
		}
	}
	for _, lang := range languages {
		if shell.Words[lang].Title == "" || shell.Words[lang].Text == "" {
			t.Errorf("no words in %s", lang)
		}
	}
}

// Another look, other words or other files are another version: a browser takes it.
func TestWorkerVersion(t *testing.T) {
	version := func(change ...func(*Config)) string {
		g := newRig(t, func(_ *provider.Config, c *Config) {
			for _, f := range change {
				f(c)
			}
		})
		return workerKnows(t, string(g.app.worker)).Version
	}
	first := version()
	if first == "" || first != version() {
		t.Error("the version is not that of the content")
	}
	if first == version(func(c *Config) { c.Brand.Name = "Another Bank" }) || first == version(func(c *Config) { c.Brand.Accent = "#224488" }) {
		t.Error("another look has the same version")
	}
}
