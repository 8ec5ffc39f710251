// Package browsertest drives a real headless Chromium in tests, in a way that bears
// pages which load anew while they are looked at.
//
// Nothing here keeps the identity of an element between two steps. A step asks the
// page one question by script, again and again until the answer is the wanted one, so
// it does not matter which document is there when it is asked. A step that leads to
// another page waits until that page has replaced the one before.
//
// The package imports nothing of the module, so that the tests of both of its halves
// can use it.
package browsertest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Limits of what a test waits for. They are generous, as what is waited for comes
// at once on a machine that is idle and late on one that is not; only a test that
// fails anyhow waits to the end.
const (
	// patience is for one condition in a page.
	patience = 45 * time.Second
	// lifetime is for all that one test does with its page.
	lifetime = 5 * time.Minute
	// asked is for one question to the browser, which may get lost while the page
	// that it was meant for is left.
	asked = 5 * time.Second
	// pause is between two questions.
	pause = 20 * time.Millisecond
)

// errNone says that there is no browser on this machine.
var errNone = errors.New("no chromium or google-chrome in PATH")

// The one browser of the test binary: the first page starts it, Main ends it.
var shared struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

// Main runs the tests and ends the browser, if one of them has started it. It is
// what TestMain of a package that uses New returns by.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.stop != nil {
		shared.stop()
	}
	return code
}

// start starts the browser.
func start() {
	path, err := lookPath()
	if err != nil {
		shared.err = err
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("lang", "en-US"))
	allocated, release := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocated)
	shared.ctx, shared.err = ctx, chromedp.Do(ctx)
	shared.stop = func() {
		cancel()
		release()
	}
}

// lookPath finds the program.
func lookPath() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
	}
	return "", errNone
}

// A Page is one tab of the browser with a profile of its own, of the size of a phone.
// It is for one goroutine.
type Page struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	problems []string
	loaded   map[cdp.LoaderID]bool // which documents have been in the tab
}

// New opens an empty page, which goes when the test ends. The test fails at its end
// for each error on the console, exception and violation of a content security
// policy that was not forgiven. Where there is no browser the test is skipped, or
// fails if CIBA_REQUIRE_BROWSER is 1. A package that uses it needs Main.
func New(t testing.TB) *Page {
	t.Helper()
	shared.once.Do(start)
	switch {
	case errors.Is(shared.err, errNone) && os.Getenv("CIBA_REQUIRE_BROWSER") != "1":
		t.Skip(shared.err)
	case shared.err != nil:
		t.Fatalf("a browser is required: %v", shared.err)
	}
	ctx, cancel := chromedp.NewContext(shared.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, lifetime)
	t.Cleanup(cancel)
	p := &Page{t: t, ctx: ctx, loaded: make(map[cdp.LoaderID]bool)}
	p.watch()
	// A page that does not know whether it has the focus is another one each time.
	p.Do(Call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	p.Viewport(390, 844)
	return p
}

// Context is what chromedp knows the page by. It ends with the test.
func (p *Page) Context() context.Context { return p.ctx }

// Do takes steps that hold for the tab and not for an element of its page, such as
// settings.
func (p *Page) Do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	err := chromedp.Do(p.ctx, steps...)
	if err != nil {
		p.t.Fatalf("browser: %v", err)
	}
}

// Call makes a step of a command of the DevTools protocol.
func Call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}
