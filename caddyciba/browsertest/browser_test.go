package browsertest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// serve serves pages by their path and counts the requests for each.
func serve(t *testing.T, pages map[string]string) (url string, count func(path string) int) {
	t.Helper()
	counts := make(map[string]*atomic.Int32)
	for path := range pages {
		counts[path] = new(atomic.Int32)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		counts[r.URL.Path].Add(1)
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>t</title><body>" + body))
	}))
	t.Cleanup(server.Close)
	return server.URL, func(path string) int { return int(counts[path].Load()) }
}

// A page that loads itself anew all the time can be read, filled in and left.
func TestRestlessPage(t *testing.T) {
	url, count := serve(t, map[string]string{
		"/":     `<p>Please wait</p><input><script>setTimeout(() => location.reload(), 20 + Math.random() * 60)</script>`,
		"/next": `<p>You are there</p>`,
	})
	p := New(t)
	for range 2 {
		p.Open(url + "/")
		for range 10 {
			p.Has("Please wait")
			p.Fill("input", "something")
			p.Center("input")
			if n := Eval[int](p, "new Promise(done => setTimeout(done, 10)).then(() => document.querySelectorAll('input').length)"); n != 1 {
				t.Errorf("%d fields", n)
			}
		}
		p.Open(url + "/next")
		p.Has("You are there")
	}
	if count("/") < 10 {
		t.Errorf("the page was loaded only %d times", count("/"))
	}
}

// A click waits for what it is meant for: not there yet, disabled, covered, moving.
func TestClickWaits(t *testing.T) {
	for name, script := range map[string]string{
		"late":     `button.hidden = true; setTimeout(() => button.hidden = false, 200)`,
		"disabled": `button.setAttribute("aria-disabled", "true"); setTimeout(() => button.removeAttribute("aria-disabled"), 200)`,
		"covered":  `cover.style.inset = "0"; setTimeout(() => cover.remove(), 200)`,
		"below":    `button.style.marginTop = "3000px"`,
	} {
		t.Run(name, func(t *testing.T) {
			url, count := serve(t, map[string]string{
				"/": `<div id="cover" style="position:fixed"></div><button id="button">Go</button><script>` + script + `;
					button.addEventListener("click", () => { if (!button.hasAttribute("aria-disabled")) location.href = "/next"; })</script>`,
				"/next": `<p>You are there</p>`,
			})
			p := New(t)
			p.Open(url + "/")
			p.Press("#button")
			if got := p.Text(); got != "You are there" || count("/next") != 1 {
				t.Errorf("%q after %d clicks", got, count("/next"))
			}
		})
	}
}

// A page that is on its way elsewhere does not get in the way of Open.
func TestOpenFromLeavingPage(t *testing.T) {
	url, _ := serve(t, map[string]string{
		"/":     `<script>setTimeout(() => location.replace("/gone"), 5)</script>`,
		"/gone": `<p>Elsewhere</p>`,
		"/next": `<p>You are there</p>`,
	})
	p := New(t)
	for range 3 {
		p.Open(url + "/")
		p.Open(url + "/next")
		p.Has("You are there")
	}
	p.Open(url + "/next#part")
	p.Has("You are there")
}

func TestFields(t *testing.T) {
	url, _ := serve(t, map[string]string{"/": `<form><input id="a"><input id="b"><input id="f" type="file"></form>
		<p id="said"></p><script>b.addEventListener("input", () => said.textContent = "b is " + b.value)</script>`})
	file := filepath.Join(t.TempDir(), "orders.txt")
	err := os.WriteFile(file, []byte("order"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p := New(t)
	p.Open(url + "/")
	p.Type("#a", "Grüße 7")
	p.Fill("#b", `"quoted"`)
	p.Has(`b is "quoted"`)
	p.Upload("#f", file)
	if got := Eval[string](p, "a.value + '|' + f.files[0].name"); got != "Grüße 7|orders.txt" {
		t.Errorf("the form has %q", got)
	}
	if x, y := p.Center("#a"); x <= 0 || y <= 0 {
		t.Errorf("at %v, %v", x, y)
	}
}

// What the browser complains about fails a test, unless it was expected.
func TestProblems(t *testing.T) {
	url, _ := serve(t, map[string]string{"/": `<script>console.log("first"); console.log("second")</script>`})
	p := New(t)
	p.Open(url + "/")
	p.Forgive("first")
	p.Forgive("second")
	p.Open(url + "/missing")
	p.Forgive("404")
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.problems) != 0 {
		t.Errorf("left over: %s", strings.Join(p.problems, "\n"))
	}
}
