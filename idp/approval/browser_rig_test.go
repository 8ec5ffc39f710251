package approval

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
	"github.com/caddyciba/gateway/idp/provider"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Main(m)) }

// tab is one tab in a profile of its own, on an app that is served on loopback.
type tab struct {
	*browsertest.Page
	t *testing.T
	g *rig

	url    string
	server *httptest.Server
}

// newTab serves an app with real time and opens a tab.
func newTab(t *testing.T, change ...func(*provider.Config, *Config)) *tab {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	g := newRig(t, append([]func(*provider.Config, *Config){func(_ *provider.Config, c *Config) {
		c.PublicURL = server.URL
	}}, change...)...)
	g.clock.follow()
	handler = g.app
	return &tab{Page: browsertest.New(t), t: t, g: g, url: server.URL, server: server}
}

// open goes to a page of the app.
func (b *tab) open(path string) {
	b.t.Helper()
	b.Open(b.url + path)
}

// signIn fills and sends the sign-in form, by keyboard.
func (b *tab) signIn(path string) {
	b.t.Helper()
	b.open(path)
	b.Fill("#username", "alice")
	b.Type("#password", testPassword)
	b.Press(".primary")
}

// wait waits until Approve is armed, if it is there.
func (b *tab) wait() {
	b.t.Helper()
	b.Until(`document.readyState === "complete" && Array.from(document.querySelectorAll("[data-approve]")).every(
		button => !button.hasAttribute("aria-disabled") && button.getAnimations().every(arming => arming.playState === "finished"))`)
}

// serve serves one page at an origin of its own.
func serve(t *testing.T, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}
