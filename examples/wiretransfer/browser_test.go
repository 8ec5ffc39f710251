package main

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Main(m)) }

// TestBrowserApproves does the whole job as its people see it: a caller sends
// an ordinary request and waits, the customer signs in with a real browser,
// withholds a permission and approves, and the caller gets the bank's answer.
func TestBrowserApproves(t *testing.T) {
	p := startExample(t)
	browser := browsertest.New(t)
	signInByBrowser(browser, p)
	teller := newTeller(p.gatewayURL())
	waiting := inBackground(func() (*answer, error) {
		return teller.do(t.Context(), "GET", "/identity?customer=alice", "")
	})

	openRequest(browser, p, "Let the front office see who you are")
	browser.Click(`input[type=checkbox][value=profile]`)
	approveByBrowser(browser)

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
	browser := browsertest.New(t)
	signInByBrowser(browser, p)
	stage, err := newStage(p, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	o := newOrder("250.00", "Invoice 4711")
	waiting := inBackground(func() (*answer, error) {
		return stage.teller.do(t.Context(), "POST", transfers, o.body())
	})
	openRequest(browser, p, o.message())
	err = stage.checkLedger(t.Context())
	if err != nil {
		t.Fatalf("before the approval: %v", err)
	}
	approveByBrowser(browser)
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
	browser := browsertest.New(t)
	signInByBrowser(browser, p)
	stage, err := newStage(p, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	o := newOrder("999.99", "Invoice 4712")
	waiting := inBackground(func() (*answer, error) {
		return stage.teller.do(t.Context(), "POST", transfers, o.body())
	})
	openRequest(browser, p, o.message())
	browser.Press(`button[value=deny]`)
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

func signInByBrowser(page *browsertest.Page, p places) {
	page.Open(p.providerURL() + "/")
	page.Type(`input[name=username]`, customerUser)
	page.Type(`input[name=password]`, customerPassword)
	page.Press(`form:has(input[name=password]) button[type=submit]`)
}

// approveByBrowser approves the request that the browser shows. The customer has
// signed in before the request came, so the app asks for the password again.
func approveByBrowser(page *browsertest.Page) {
	page.Press(`button[value=approve]`)
	page.Type(`input[name=password]`, customerPassword)
	page.Press(`button[value=approve]`)
	page.Until(`document.querySelector("button[value=approve]") === null`)
}

// openRequest waits until the list, which is live, holds a request, opens it, and
// makes sure that it shows the message.
func openRequest(page *browsertest.Page, p places, message string) {
	page.Open(p.providerURL() + "/")
	page.Press(`a[href*="/requests/"]`)
	page.Has(message)
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
