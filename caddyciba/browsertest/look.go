package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// watch collects console messages, exceptions and violations of the policy, and
// which documents have come.
func (p *Page) watch() {
	p.t.Helper()
	report := func(format string, args ...any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.problems = append(p.problems, fmt.Sprintf(format, args...))
	}
	err := chromedp.Listen(p.ctx, func(event any) {
		switch e := event.(type) {
		case *page.EventFrameNavigated:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.loaded[e.Frame.LoaderID] = true
		case *runtime.EventExceptionThrown:
			raw, _ := json.Marshal(e.ExceptionDetails)
			report("exception: %s", raw)
		case *runtime.EventConsoleAPICalled:
			raw, _ := json.Marshal(e.Args)
			report("console.%s: %s", e.Type, raw)
		case *cdplog.EventEntryAdded:
			if !strings.HasSuffix(e.Entry.URL, "/favicon.ico") {
				report("log %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
			}
		}
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.Do(Call(cdplog.Enable, cdp.Empty{}), Call(runtime.Enable, cdp.Empty{}))
	p.t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, problem := range p.problems {
			p.t.Errorf("browser: %s", problem)
		}
	})
}

// Forgive waits for complaints of the browser that contain one of the texts, takes
// them off the list, and fails the test if there are none: what was expected did not
// happen.
func (p *Page) Forgive(texts ...string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); p.rest() {
		p.mu.Lock()
		before := len(p.problems)
		p.problems = slices.DeleteFunc(p.problems, func(problem string) bool {
			return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(problem, text) })
		})
		found := len(p.problems) < before
		p.mu.Unlock()
		if found {
			return
		}
	}
	p.t.Errorf("the browser did not complain about any of %q", texts)
}

// ForgiveAll forgets what the browser has complained about, for tests that visit
// pages whose status is an error.
func (p *Page) ForgiveAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = nil
}

// Scripts switches the scripts of pages on or off. What a test evaluates itself goes
// on working.
func (p *Page) Scripts(on bool) {
	p.t.Helper()
	p.Do(Call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}))
}

// Viewport sets the size of the page: up to a width of 600 that of a phone.
func (p *Page) Viewport(width, height int64) {
	p.t.Helper()
	p.Do(chromedp.EmulateViewport(width, height, func(m *emulation.SetDeviceMetricsOverrideParams, _ *emulation.SetTouchEmulationEnabledParams) {
		m.Mobile = width < 600
		m.DeviceScaleFactor = 1
		if m.Mobile {
			m.DeviceScaleFactor = 2
		}
	}))
}

// Media sets CSS media features, as name and value in turn.
func (p *Page) Media(features ...string) {
	p.t.Helper()
	params := emulation.SetEmulatedMediaParams{}
	for pair := range slices.Chunk(features, 2) {
		params.Features = append(params.Features, &emulation.MediaFeature{Name: pair[0], Value: pair[1]})
	}
	p.Do(Call(emulation.SetEmulatedMedia, params))
}

// Speak sets Accept-Language.
func (p *Page) Speak(tag string) {
	p.t.Helper()
	p.Do(Call(network.Enable, network.EnableParams{}),
		Call(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": tag}}))
}

// Shoot writes a picture of what is in view into the folder that CIBA_SCREENSHOTS
// names, if it does.
func (p *Page) Shoot(name string) {
	p.t.Helper()
	dir := os.Getenv("CIBA_SCREENSHOTS")
	if dir == "" {
		return
	}
	var data []byte
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		r, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{})
		data = r.Data
		return err
	}))
	err := os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
}
