package caddyciba

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	cdpnetwork "github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A browser is one tab of a headless Chromium with a profile of its own.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

// newBrowser starts a browser. Where there is none the test is skipped, or fails
// if CIBA_REQUIRE_BROWSER is 1.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	err := exec.ErrNotFound
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		path, err = exec.LookPath(name)
		if err == nil {
			break
		}
	}
	if err != nil && os.Getenv("CIBA_REQUIRE_BROWSER") == "1" {
		t.Fatal("a browser is required, and there is none in PATH")
	}
	if err != nil {
		t.Skip("no chromium or google-chrome in PATH")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("lang", "en-US"))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	b.watch()
	b.do(chromedp.EmulateViewport(390, 844, func(p *emulation.SetDeviceMetricsOverrideParams, _ *emulation.SetTouchEmulationEnabledParams) {
		p.Mobile = true
		p.DeviceScaleFactor = 2
	}))
	return b
}

// watch fails the test for errors on the console, exceptions and violations of
// the content security policy.
func (b *browser) watch() {
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
			if !strings.Contains(p, "favicon.ico") {
				b.t.Errorf("browser: %s", p)
			}
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

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	err := chromedp.Do(b.ctx, steps...)
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) scripts(on bool) {
	b.t.Helper()
	b.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}))
}

// speak sets Accept-Language, and light or dark.
func (b *browser) speak(tag, scheme string) {
	b.t.Helper()
	b.do(call(cdpnetwork.Enable, cdpnetwork.EnableParams{}),
		call(cdpnetwork.SetExtraHTTPHeaders, cdpnetwork.SetExtraHTTPHeadersParams{Headers: cdpnetwork.Headers{"Accept-Language": tag}}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// eval returns what an expression is on the page, or nothing while there is none.
func (b *browser) eval(expression string) string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		return ""
	}
	return text
}

// has waits until the page says something.
func (b *browser) has(want string) {
	b.t.Helper()
	var got string
	for range 200 {
		got = b.eval("document.body ? document.body.innerText : ''")
		if strings.Contains(got, want) {
			return
		}
		b.do(chromedp.Sleep(50 * time.Millisecond))
	}
	b.t.Fatalf("the page does not say %q but:\n%s", want, got)
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// shoot writes a picture into the folder that CIBA_SCREENSHOTS names, if it does.
func (b *browser) shoot(name string) {
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
	err := os.WriteFile(filepath.Join(dir, "waiting-"+name+".png"), data, 0o644)
	if err != nil {
		b.t.Fatal(err)
	}
}

// bankSite is a bank's web page with a form for transfers and one for files, and
// an answer with a link that is relative to the address of the form's target.
func bankSite(t *testing.T) (*fakeOP, *bank, *site) {
	t.Helper()
	op, b := newFakeOP(t), newBank(t)
	b.handle = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `<!doctype html><title>Bank</title><h1>Thank you</h1><a id="next" href="receipt">Receipt</a>`)
		case strings.HasSuffix(r.URL.Path, "/receipt"):
			_, _ = io.WriteString(w, "<!doctype html><title>Bank</title><h1>Your receipt</h1>")
		default:
			_, _ = io.WriteString(w, `<!doctype html><title>Bank</title><form method="post" action="/pay/transfers?from=web">
<input name="amount" value="1250.00"><input name="to" value="Danny Ocean"><button id="pay">Pay</button></form>
<form method="post" action="/pay/upload" enctype="multipart/form-data"><input type="file" name="orders" id="file"><button id="send">Send</button></form>`)
		}
	}
	s := startSite(t, memoryStore, fmt.Sprintf(`
	@pay method POST
	ciba @pay %s {
		customer alice
		message  "Pay 1250.00 EUR to Danny Ocean"
		match_code
		limit off
	}
	reverse_proxy %s`, op.URL, b.addr()))
	return op, b, s
}

// posted are the posts that have reached the bank.
func posted(b *bank) []received {
	var all []received
	for _, r := range b.received() {
		if r.method == http.MethodPost {
			all = append(all, r)
		}
	}
	return all
}

// A bank's form in a real browser: a waiting page, the phone, the bank's answer.
func TestBrowser(t *testing.T) {
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprint("scripts ", scripts), func(t *testing.T) {
			op, b, s := bankSite(t)
			page := newBrowser(t)
			page.do(chromedp.Navigate("http://" + s.addr + "/"))
			page.scripts(scripts)
			page.click("#pay")
			page.has("Waiting for approval on the phone")
			page.has("Pay 1250.00 EUR to Danny Ocean")
			code := page.eval("document.querySelector('output').textContent")
			if message := op.started()[0].form.Get("binding_message"); len(code) != 2 || !strings.HasPrefix(message, code+" ") {
				t.Errorf("the page shows %q, the phone %q", code, message)
			}
			if n := len(posted(b)); n != 0 {
				t.Fatalf("the bank got %d posts before the approval", n)
			}
			op.setDecision(approve)
			if !scripts {
				page.has("Approved")
				page.click("#go button")
			}
			page.has("Thank you")
			got := posted(b)
			if len(got) != 1 || got[0].body != "amount=1250.00&to=Danny+Ocean" || got[0].target != "/pay/transfers?from=web" ||
				got[0].header.Get("Authorization") != "Bearer token-of-alice" {
				t.Errorf("the bank got %+v", got)
			}
			page.click("#next") // relative to the address of the request
			page.has("Your receipt")
		})
	}
}

// Denied, cancelled on the page, and not decided.
func TestBrowserEnds(t *testing.T) {
	op, b, s := bankSite(t)
	page := newBrowser(t)
	for want, end := range map[string]func(){
		"Denied on the phone":  func() { op.setDecision(deny) },
		"Not approved in time": func() { op.setDecision(expire) },
		"Cancelled":            func() { page.click("form[action$='/cancel'] button") },
	} {
		op.setDecision(pending)
		page.do(chromedp.Navigate("http://" + s.addr + "/"))
		page.click("#pay")
		page.has("Waiting for approval")
		end()
		page.has(want)
		page.has("Nothing was sent.")
	}
	if n := len(posted(b)); n != 0 {
		t.Errorf("the bank got %d posts", n)
	}
}

// A file survives byte for byte.
func TestBrowserUpload(t *testing.T) {
	op, b, s := bankSite(t)
	op.setDecision(approve)
	content := make([]byte, 20_000)
	for i := range content {
		content[i] = byte(i * 7)
	}
	file := filepath.Join(t.TempDir(), "orders.bin")
	err := os.WriteFile(file, content, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	page := newBrowser(t)
	page.do(chromedp.Navigate("http://"+s.addr+"/"), chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}))
	page.click("#send")
	page.has("Thank you")
	got := posted(b)
	if len(got) != 1 {
		t.Fatalf("the bank got %d posts", len(got))
	}
	_, params, err := mime.ParseMediaType(got[0].header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := multipart.NewReader(strings.NewReader(got[0].body), params["boundary"]).NextPart()
	if err != nil {
		t.Fatal(err)
	}
	arrived, err := io.ReadAll(part)
	if err != nil || string(arrived) != string(content) || part.FileName() != "orders.bin" {
		t.Errorf("file %q arrived with %d bytes, %v", part.FileName(), len(arrived), err)
	}
}

// TestWaitingScreenshots writes pictures of the waiting page into the folder that
// CIBA_SCREENSHOTS names, for a person to look at.
func TestWaitingScreenshots(t *testing.T) {
	if os.Getenv("CIBA_SCREENSHOTS") == "" {
		t.Skip("CIBA_SCREENSHOTS names no folder")
	}
	op, _, s := bankSite(t)
	page := newBrowser(t)
	for _, look := range [][2]string{{"en", "light"}, {"de", "dark"}, {"fr", "light"}, {"es", "dark"}} {
		page.speak(look[0], look[1])
		for state, decision := range map[string]fakeDecision{"waiting": pending, "denied": deny} {
			op.setDecision(decision)
			page.scripts(true)
			page.do(chromedp.Navigate("http://" + s.addr + "/"))
			page.click("#pay")
			page.do(chromedp.Sleep(1500 * time.Millisecond))
			page.shoot(state + "-" + look[0])
			if decision == pending {
				page.click("form[action$='/cancel'] button")
				page.do(chromedp.Sleep(700 * time.Millisecond))
			}
		}
		op.setDecision(approve)
		page.do(chromedp.Navigate("http://" + s.addr + "/"))
		page.scripts(false)
		page.click("#pay")
		page.do(chromedp.Sleep(1500 * time.Millisecond))
		page.shoot("approved-" + look[0])
		page.click("form[action$='/cancel'] button")
		page.do(chromedp.Sleep(700 * time.Millisecond))
		page.scripts(true)
	}
}
