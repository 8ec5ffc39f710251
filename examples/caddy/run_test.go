package main

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddyciba/gateway/caddyciba/porttest"
)

// password is what the hashes in example.env were made from.
const password = "antitiming"

// TestExampleRuns moves the sites of the example to this machine, and sends a
// transfer through them that the customer approves.
func TestExampleRuns(t *testing.T) {
	setUp(t, "")
	received := make(chan *http.Request, 2)
	legacy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received <- r
		_, _ = io.WriteString(w, "done")
	}))
	defer legacy.Close()
	atLocalhost := strings.NewReplacer("127.0.0.1", "localhost")
	api, provider := atLocalhost.Replace(porttest.Reserve(t)), atLocalhost.Replace(porttest.Reserve(t))
	config := strings.NewReplacer(
		"https://id.example.com", "http://"+provider,
		"\nid.example.com {", "\nhttp://"+provider+" {",
		"\napi.example.com {", "\nhttp://"+api+" {",
		"legacy.internal:8080", legacy.Listener.Addr().String(),
		"push.example.com", "push.invalid",
		"\n{\n", "\n{\n\tadmin off\n\tpersist_config off\n\tgrace_period 5s\n",
	).Replace(string(readExample(t)))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = caddy.Load(adapted, true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		err := caddy.Stop()
		if err != nil {
			t.Error(err)
		}
	}()

	// Without a password nobody gets anywhere, and nothing else needs approval.
	for password, want := range map[string]int{"": http.StatusUnauthorized, password: http.StatusOK} {
		resp := send(t, http.MethodGet, "http://"+api+"/v1/accounts", password, "")
		if resp.status != want {
			t.Errorf("reading accounts: %d, not %d: %s", resp.status, want, resp.body)
		}
	}
	<-received

	// The customer is there before the request, and approves it.
	browser := signIn(t, "http://"+provider)
	const transfer = `{"debtor": {"customer_id": "anna"}, "creditor": {"name": "Power Company"}, "amount": 84.20, "currency": "EUR"}`
	answer := make(chan response, 1)
	go func() { answer <- send(t, http.MethodPost, "http://"+api+"/v1/transfers", password, transfer) }()
	approve(t, browser, "http://"+provider, "Pay 84.20 EUR to Power Company")
	got := <-answer
	if got.err != nil || got.status != http.StatusOK || got.body != "done" {
		t.Fatalf("the transfer: %+v", got)
	}
	r := <-received
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		t.Errorf("the upstream got %q", r.Header.Get("Authorization"))
	}
	if r.Header.Get("X-Approved-By") != "anna" {
		t.Errorf("the upstream learned that %q approved", r.Header.Get("X-Approved-By"))
	}
	if len(received) != 0 {
		t.Error("the upstream got more than one request")
	}
}

// response is an answer that was read to its end.
type response struct {
	status int
	body   string
	err    error
}

// send sends a request as the teller.
func send(t *testing.T, method, address, password, body string) response {
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		return response{err: err}
	}
	if password != "" {
		r.SetBasicAuth("teller", password)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return response{err: err}
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, string(content), err}
}

// signIn returns a browser in which anna is signed in.
func signIn(t *testing.T, issuer string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: time.Minute}
	page := fetch(t, browser, issuer+"/sign-in")
	submit(t, browser, issuer+"/sign-in", url.Values{
		"token": {field(t, page, `name="token" value="([^"]+)"`)}, "username": {"anna"}, "password": {password},
	})
	return browser
}

// approve waits for a request with the message, and approves it.
func approve(t *testing.T, browser *http.Client, issuer, message string) {
	t.Helper()
	link := regexp.MustCompile(`href="[^"]*(/requests/[^"]+)"`)
	var found []string
	for deadline := time.Now().Add(10 * time.Second); found == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no request came")
		}
		found = link.FindStringSubmatch(fetch(t, browser, issuer+"/"))
	}
	address := issuer + html.UnescapeString(found[1])
	page := fetch(t, browser, address)
	if !strings.Contains(page, message) {
		t.Errorf("the page does not say %q:\n%s", message, page)
	}
	_, form, _ := strings.Cut(page, `/decision"`)
	submit(t, browser, address+"/decision", url.Values{
		"token":    {field(t, form, `name="token" value="([^"]+)"`)},
		"scope":    {"profile"},
		"decision": {"approve"},
		"password": {password},
	})
}

// fetch returns a page.
func fetch(t *testing.T, browser *http.Client, address string) string {
	t.Helper()
	resp, err := browser.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v\n%s", address, resp.Status, err, page)
	}
	return string(page)
}

// submit posts a form as a page of the same site does.
func submit(t *testing.T, browser *http.Client, address string, form url.Values) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	resp, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s, %v\n%s", address, resp.Status, err, page)
	}
}

// field finds one value in a page.
func field(t *testing.T, page, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("%s is not in:\n%s", pattern, page)
	}
	return html.UnescapeString(found[1])
}
