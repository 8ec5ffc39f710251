package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestBrowserApproves does the whole job as its people see it: a caller sends
// an ordinary request and waits, the customer signs in with a real browser,
// withholds a permission and approves, and the caller gets the bank's answer.
func TestBrowserApproves(t *testing.T) {
	p := startExample(t)
	browser := newBrowser(t)
	signInByBrowser(t, browser, p)
	teller := newTeller(p.gatewayURL())
	waiting := inBackground(func() (*answer, error) {
		return teller.do(t.Context(), "GET", "/identity?customer=alice", "")
	})

	openRequest(t, browser, p, "Let the front office see who you are")
	browse(t, browser, "untick a scope", chromedp.Click(chromedp.CSS(`input[type=checkbox][value=profile]`), chromedp.NodeVisible))
	approveByBrowser(t, browser)

	a := <-waiting
	if a.err != nil {
		t.Fatal(a.err)
	}
	var claims struct {
		Subject string `json:"sub"`
		Scope   string `json:"scope"`
	}
	err := json.Unmarshal(a.body, &claims)
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("the held request got %d: %s", a.status, a.body)
	}
	granted := strings.Fields(claims.Scope)
	if claims.Subject != customerUser || slices.Contains(granted, "profile") || !slices.Contains(granted, "my_wire_transfer_scope") {
		t.Errorf("the bank received a token of %q with the scope %q", claims.Subject, claims.Scope)
	}
}

// TestBrowserMovesMoney approves a transfer and looks at the ledger.
func TestBrowserMovesMoney(t *testing.T) {
	p := startExample(t)
	browser := newBrowser(t)
	signInByBrowser(t, browser, p)
	stage, err := newStage(p, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	o := newOrder("250.00", "Invoice 4711")
	waiting := inBackground(func() (*answer, error) {
		return stage.teller.do(t.Context(), "POST", transfers, o.body())
	})
	openRequest(t, browser, p, o.message())
	err = stage.checkLedger(t.Context())
	if err != nil {
		t.Fatalf("before the approval: %v", err)
	}
	approveByBrowser(t, browser)
	a := <-waiting
	if a.err != nil {
		t.Fatal(a.err)
	}
	if a.status != http.StatusCreated || !strings.Contains(string(a.body), `"status": "booked"`) {
		t.Errorf("the held request got %d: %s", a.status, a.body)
	}
	stage.expect(o)
	err = stage.checkLedger(t.Context())
	if err != nil {
		t.Error(err)
	}
}

// TestBrowserDenies denies a transfer.
func TestBrowserDenies(t *testing.T) {
	p := startExample(t)
	browser := newBrowser(t)
	signInByBrowser(t, browser, p)
	stage, err := newStage(p, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	o := newOrder("999.99", "Invoice 4712")
	waiting := inBackground(func() (*answer, error) {
		return stage.teller.do(t.Context(), "POST", transfers, o.body())
	})
	openRequest(t, browser, p, o.message())
	browse(t, browser, "deny", chromedp.Click(chromedp.CSS(`button[value=deny]`), chromedp.NodeVisible))
	a := <-waiting
	if a.err != nil {
		t.Fatal(a.err)
	}
	name, problem, err := a.problem()
	if err != nil {
		t.Fatal(err)
	}
	if a.status != http.StatusForbidden || name != "approval-denied" || problem.Forwarded != false {
		t.Errorf("the held request got %d: %s", a.status, a.body)
	}
	err = stage.checkLedger(t.Context())
	if err != nil {
		t.Error(err)
	}
}

// startExample runs the example on free ports until the test ends.
func startExample(t *testing.T) places {
	t.Helper()
	p := places{
		gateway: "localhost:0", provider: "localhost:0", bank: "127.0.0.1:0", admin: "off",
		data: t.TempDir(), instantHold: 3 * time.Second,
	}
	err := p.fill()
	if err != nil {
		t.Fatal(err)
	}
	stop, err := start(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := stop()
		if err != nil {
			t.Error(err)
		}
	})
	return p
}

// newBrowser starts a browser with an empty profile and opens a tab in it.
// Where there is no browser the test is skipped, or fails if
// CIBA_REQUIRE_BROWSER says that there must be one.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		found, err := exec.LookPath(name)
		if err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CIBA_REQUIRE_BROWSER") != "" {
			t.Fatal("CIBA_REQUIRE_BROWSER is set, and there is no Chromium or Chrome on the PATH")
		}
		t.Skip("no Chromium or Chrome on the PATH")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(390, 844))
	if os.Geteuid() == 0 {
		// Chromium refuses to sandbox a process of root's.
		options = append(options, chromedp.NoSandbox)
	}
	allocator, release := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(release)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		closeTab()
	})
	err := chromedp.Do(tab)
	if err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	return tab
}

// browse does something in the browser within 20 seconds.
func browse(t *testing.T, tab context.Context, what string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, 20*time.Second)
	defer cancel()
	err := chromedp.Do(ctx, steps...)
	if err != nil {
		t.Fatalf("browser, %s: %v\n%s", what, err, screenText(tab))
	}
}

// screenText is what the browser shows, for the message of a failure.
func screenText(tab context.Context) string {
	ctx, cancel := context.WithTimeout(tab, 2*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		return fmt.Sprintf("(the page cannot be read: %v)", err)
	}
	return text
}

func signInByBrowser(t *testing.T, tab context.Context, p places) {
	t.Helper()
	browse(t, tab, "sign in",
		chromedp.Navigate(p.providerURL()+"/"),
		chromedp.SendKeys(chromedp.CSS(`input[name=username]`), customerUser, chromedp.NodeVisible),
		chromedp.SendKeys(chromedp.CSS(`input[name=password]`), customerPassword, chromedp.NodeVisible),
		chromedp.Click(chromedp.CSS(`form:has(input[name=password]) button[type=submit]`), chromedp.NodeVisible),
		chromedp.WaitNotPresent(chromedp.CSS(`input[name=password]`)),
	)
}

// approveByBrowser approves the request that the browser shows. The customer has
// signed in before the request came, so the app asks for the password again.
func approveByBrowser(t *testing.T, tab context.Context) {
	t.Helper()
	password := chromedp.CSS(`input[name=password]`)
	pressApprove(t, tab, `document.querySelector("input[name=password]") !== null`)
	browse(t, tab, "give the password", chromedp.SendKeys(password, customerPassword, chromedp.NodeVisible))
	pressApprove(t, tab, `document.querySelector("button[value=approve]") === null`)
}

// pressApprove clicks Approve until a condition in the page holds. Approve does
// nothing for a moment after it has appeared or the window got the focus, and
// then it is clicked again, as a person would.
func pressApprove(t *testing.T, tab context.Context, until string) {
	t.Helper()
	armed := `document.querySelector("button[value=approve]:not([aria-disabled])") !== null`
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		// A page that is just being left answers neither question.
		done, err := chromedp.Run(tab, chromedp.Evaluate[bool](until))
		if err == nil && done {
			return
		}
		ready, err := chromedp.Run(tab, chromedp.Evaluate[bool](armed))
		if err != nil || !ready {
			continue
		}
		ctx, cancel := context.WithTimeout(tab, 2*time.Second)
		err = chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`button[value=approve]`), chromedp.NodeVisible))
		cancel()
		if err != nil {
			t.Logf("clicking Approve: %v", err)
		}
	}
	t.Fatalf("Approve had no effect:\n%s", screenText(tab))
}

// openRequest waits until the list holds one request, opens it, and makes sure
// that it shows the message.
func openRequest(t *testing.T, tab context.Context, p places, message string) {
	t.Helper()
	link := chromedp.CSS(`a[href*="/requests/"]`)
	present := `document.querySelector('a[href*="/requests/"]') !== null`
	for deadline := time.Now().Add(20 * time.Second); ; {
		browse(t, tab, "open the list", chromedp.Navigate(p.providerURL()+"/"))
		found, err := chromedp.Run(tab, chromedp.Evaluate[bool](present))
		if err != nil {
			t.Fatal(err)
		}
		if found {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no request in the list:\n%s", screenText(tab))
		}
		time.Sleep(50 * time.Millisecond)
	}
	browse(t, tab, "open the request",
		chromedp.Click(link, chromedp.NodeVisible),
		chromedp.WaitVisible(chromedp.CSS(`button[value=approve]`)))
	if text := screenText(tab); !strings.Contains(text, message) {
		t.Fatalf("the page does not show %q:\n%s", message, text)
	}
}

// result is what a request in the background led to.
type result struct {
	*answer
	err error
}

// inBackground runs a request and delivers its result.
func inBackground(f func() (*answer, error)) <-chan result {
	done := make(chan result, 1)
	go func() {
		a, err := f()
		done <- result{a, err}
	}()
	return done
}
