package approval

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/idp/provider"
)

// The browser of all tests of the package; the first test that needs it starts
// it, TestMain ends it.
var (
	chromeOnce   sync.Once
	chromeCtx    context.Context
	chromeCancel context.CancelFunc
	chromeErr    error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if chromeCancel != nil {
		chromeCancel()
	}
	os.Exit(code)
}

// chromiumPath finds a browser binary.
func chromiumPath() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no chromium or google-chrome in PATH")
}

// startChrome starts the browser.
func startChrome() {
	path, err := chromiumPath()
	if err != nil {
		chromeErr = err
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("lang", "en-US"),
	)
	allocated, cancelAlloc := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocated)
	chromeErr = chromedp.Do(ctx)
	chromeCtx = ctx
	chromeCancel = func() { cancel(); cancelAlloc() }
}

// tab is one tab in a profile of its own, on an app that is served on loopback.
type tab struct {
	t   *testing.T
	g   *rig
	ctx context.Context
	url string

	server *httptest.Server

	mu       sync.Mutex
	problems []string
}

// newTab serves an app with real time and opens a tab. Without a browser the test
// is skipped, or fails where CIBA_REQUIRE_BROWSER is 1.
func newTab(t *testing.T, change ...func(*provider.Config, *Config)) *tab {
	t.Helper()
	chromeOnce.Do(startChrome)
	if chromeErr != nil {
		if os.Getenv("CIBA_REQUIRE_BROWSER") == "1" {
			t.Fatalf("a browser is required: %v", chromeErr)
		}
		t.Skipf("no browser: %v", chromeErr)
	}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	g := newRig(t, append([]func(*provider.Config, *Config){func(_ *provider.Config, c *Config) {
		c.PublicURL = server.URL
	}}, change...)...)
	g.clock.follow()
	handler = g.app
	ctx, cancel := chromedp.NewContext(chromeCtx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	b := &tab{t: t, g: g, ctx: ctx, url: server.URL, server: server}
	b.watch()
	b.do(b.viewport(390, 844))
	return b
}

// watch collects console errors, exceptions and CSP violations of the tab.
func (b *tab) watch() {
	b.t.Helper()
	report := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, fmt.Sprintf(format, args...))
	}
	err := chromedp.Listen(b.ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			raw, _ := json.Marshal(e.ExceptionDetails)
			report("exception: %s", raw)
		case *runtime.EventConsoleAPICalled:
			raw, _ := json.Marshal(e.Args)
			report("console.%s: %s", e.Type, raw)
		case *cdplog.EventEntryAdded:
			report("log %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(call(cdplog.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{}))
	b.t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			b.t.Errorf("browser: %s", p)
		}
	})
}

// call makes an action of a protocol command.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	err := chromedp.Do(b.ctx, steps...)
	if err != nil {
		b.t.Fatal(err)
	}
}

// viewport sets the size of the page.
func (b *tab) viewport(width, height int64) chromedp.Action[chromedp.Void] {
	return chromedp.EmulateViewport(width, height, func(p *emulation.SetDeviceMetricsOverrideParams, _ *emulation.SetTouchEmulationEnabledParams) {
		p.Mobile = width < 600
		p.DeviceScaleFactor = 2
		if width >= 600 {
			p.DeviceScaleFactor = 1
		}
	})
}

// media sets CSS media features, as name and value in turn.
func media(features ...string) chromedp.Action[chromedp.Void] {
	p := emulation.SetEmulatedMediaParams{}
	for i := 0; i < len(features); i += 2 {
		p.Features = append(p.Features, &emulation.MediaFeature{Name: features[i], Value: features[i+1]})
	}
	return call(emulation.SetEmulatedMedia, p)
}

// speak sets Accept-Language.
func speak(tag string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(
		call(network.Enable, network.EnableParams{}),
		call(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": tag}}),
	)
}

// open goes to a page of the app.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url + path))
}

// text returns what a person reads on the page.
func (b *tab) text() string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// has waits until the page says something.
func (b *tab) has(want string) {
	b.t.Helper()
	var got string
	for range 100 {
		s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body ? document.body.innerText : ''"))
		if err == nil {
			got = s
		}
		if strings.Contains(got, want) {
			return
		}
		b.do(chromedp.Sleep(50 * time.Millisecond))
	}
	b.t.Fatalf("the page does not say %q but:\n%s", want, got)
}

// typeInto types into a field.
func typeInto(id, text string) chromedp.Action[chromedp.Void] {
	return chromedp.SendKeys(chromedp.ID(id), text)
}

// signIn fills and sends the sign-in form, by keyboard.
func (b *tab) signIn(path string) {
	b.t.Helper()
	b.open(path)
	b.do(
		chromedp.SetValue(chromedp.ID("username"), "alice"),
		typeInto("password", testPassword),
	)
	b.press(".primary")
}

// press clicks and waits for the page that follows.
func (b *tab) press(selector string) {
	b.t.Helper()
	_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector)))
	if err != nil {
		b.t.Fatal(err)
	}
}

// wait waits until Approve is armed.
func (b *tab) wait() {
	b.t.Helper()
	b.do(chromedp.Sleep(800 * time.Millisecond))
}

// shoot writes a screenshot of the viewport where CIBA_SCREENSHOTS names a folder.
func (b *tab) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("CIBA_SCREENSHOTS")
	if dir == "" {
		return
	}
	var data []byte
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		r, err := cdp.Call(ctx, t, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{})
		data = r.Data
		return err
	}))
	err := os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644)
	if err != nil {
		b.t.Fatal(err)
	}
}

// forgive takes the problems that contain one of the texts off the list, and
// fails if there are none: what was expected did not happen.
func (b *tab) forgive(texts ...string) {
	b.t.Helper()
	for range 40 {
		b.mu.Lock()
		before := len(b.problems)
		b.problems = slices.DeleteFunc(b.problems, func(p string) bool {
			return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(p, text) })
		})
		found := len(b.problems) < before
		b.mu.Unlock()
		if found {
			return
		}
		b.do(chromedp.Sleep(50 * time.Millisecond))
	}
	b.t.Errorf("the browser did not complain about any of %q", texts)
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
