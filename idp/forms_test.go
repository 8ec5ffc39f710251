package idp

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// customer is anna's browser, without JavaScript.
type customer struct {
	*server
	issuer string
}

// newCustomer returns a browser without cookies.
func newCustomer(s *server, issuer string) *customer {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	browser := *s
	browser.client = &http.Client{Transport: s.client.Transport, Jar: jar, CheckRedirect: s.client.CheckRedirect, Timeout: s.client.Timeout}
	return &customer{server: &browser, issuer: issuer}
}

var (
	tokenField   = regexp.MustCompile(`name="token" value="([^"]+)"`)
	scopeField   = regexp.MustCompile(`name="scope" value="([^"]+)"`)
	requestLink  = regexp.MustCompile(`href="([^"]*/requests/[^"]+)"`)
	decisionForm = regexp.MustCompile(`action="([^"]*/requests/[^"]+/decision)"`)
)

// submit posts a form of a page with its token and all of its scopes.
func (c *customer) submit(page, action string, form url.Values) (*http.Response, string) {
	c.t.Helper()
	// The token of the form at hand follows its action.
	_, rest, found := strings.Cut(page, `action="`+action+`"`)
	token := tokenField.FindStringSubmatch(rest)
	if !found || token == nil {
		c.t.Fatalf("there is no form for %s in:\n%s", action, page)
	}
	form.Set("token", html.UnescapeString(token[1]))
	for _, scope := range scopeField.FindAllStringSubmatch(rest, -1) {
		form.Add("scope", html.UnescapeString(scope[1]))
	}
	origin, err := url.Parse(c.issuer)
	if err != nil {
		c.t.Fatal(err)
	}
	target, err := origin.Parse(action)
	if err != nil {
		c.t.Fatal(err)
	}
	r := c.request(http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", origin.Scheme+"://"+origin.Host)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, body := c.do(r)
	return resp, string(body)
}

// signIn signs in with the password of anna.
func (c *customer) signIn() {
	c.t.Helper()
	page := string(c.get(c.issuer + "/sign-in"))
	action := regexp.MustCompile(`action="([^"]*/sign-in)"`).FindStringSubmatch(page)
	if action == nil {
		c.t.Fatalf("the sign-in page has no form:\n%s", page)
	}
	resp, body := c.submit(page, action[1], url.Values{"username": {"Anna"}, "password": {annaPassword}})
	if resp.StatusCode != http.StatusSeeOther {
		c.t.Fatalf("signing in: %s\n%s", resp.Status, body)
	}
}

// open opens the page of the only request that waits.
func (c *customer) open() string {
	c.t.Helper()
	links := requestLink.FindAllStringSubmatch(string(c.get(c.issuer+"/")), -1)
	if len(links) != 1 {
		c.t.Fatalf("the list has %d requests, not one", len(links))
	}
	origin, err := url.Parse(c.issuer)
	if err != nil {
		c.t.Fatal(err)
	}
	target, err := origin.Parse(html.UnescapeString(links[0][1]))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(c.get(target.String()))
}

// decide presses a button of the page of a request.
func (c *customer) decide(page, decision, password string) (*http.Response, string) {
	c.t.Helper()
	action := decisionForm.FindStringSubmatch(page)
	if action == nil {
		c.t.Fatalf("the request's page has no form:\n%s", page)
	}
	form := url.Values{"decision": {decision}}
	if password != "" {
		form.Set("password", password)
	}
	return c.submit(page, action[1], form)
}

// A customer signs in and approves over HTTP, and neither the session nor the
// page that is open in the browser is lost by a reload in between.
func TestApproveByForms(t *testing.T) {
	s := newServer(t)
	// The issuer has a path, below which everything must stay.
	config := strings.ReplaceAll(site, "ciba_idp http://localhost:<port>", "ciba_idp http://localhost:<port>/bank/id")
	s.load(config)
	issuer := s.url("/bank/id")
	c := newCustomer(s, issuer)
	c.signIn()
	// Requests are dated by the millisecond, and this one must be younger.
	signedIn := time.Now().UnixMilli()
	wait(t, "the next millisecond", func() bool { return time.Now().UnixMilli() > signedIn })
	id := s.start(issuer, "profile", "transfers")
	page := c.open()
	for _, want := range []string{"Pay 10 EUR", "Send money"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}

	s.load(strings.ReplaceAll(config, "interval 1s", "interval 2s"))

	// She signed in before the request was made, so that the password is asked
	// for once more.
	resp, page := c.decide(page, "approve", "")
	if resp.StatusCode != http.StatusOK || !strings.Contains(page, `name="password"`) {
		t.Fatalf("approving without the password: %s\n%s", resp.Status, page)
	}
	resp, page = c.decide(page, "approve", "wrong password")
	if resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("approving with a wrong password: %s\n%s", resp.Status, page)
	}
	resp, page = c.decide(page, "approve", annaPassword)
	if resp.StatusCode >= http.StatusBadRequest {
		t.Fatalf("approving: %s\n%s", resp.Status, page)
	}
	status, answer := s.poll(issuer, id)
	if status != http.StatusOK || s.claims(answer["id_token"])["sub"] != "anna" {
		t.Errorf("after the approval: %d %v", status, answer)
	}
	scope, _ := answer["scope"].(string)
	if !strings.Contains(scope, "transfers") {
		t.Errorf("the scope is %q", scope)
	}
}

func TestDenyByForms(t *testing.T) {
	s := newServer(t)
	s.load(site)
	issuer := s.url("")
	c := newCustomer(s, issuer)
	c.signIn()
	id := s.start(issuer)
	resp, page := c.decide(c.open(), "deny", "")
	if resp.StatusCode >= http.StatusBadRequest {
		t.Fatalf("denying: %s\n%s", resp.Status, page)
	}
	status, answer := s.poll(issuer, id)
	if status != http.StatusBadRequest || answer["error"] != "access_denied" {
		t.Errorf("after the denial: %d %v", status, answer)
	}
}

// Failed sign-ins are counted by the address of the browser, which behind a
// trusted proxy is the one that the proxy names.
func TestClientIP(t *testing.T) {
	s := newServer(t)
	s.loadWith("\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8 ::1/128\n\t}\n", site)
	issuer := s.url("")
	core, logs := observer.New(zapcore.InfoLevel)
	in := s.instance(issuer)
	used := *in.out.current.Load()
	used.logger = zap.New(core)
	defer in.out.use(&used)()
	c := newCustomer(s, issuer)
	c.client.Transport = forwarded{c.client.Transport}
	page := string(c.get(issuer + "/sign-in"))
	resp, _ := c.submit(page, "/sign-in", url.Values{"username": {"anna"}, "password": {"wrong"}})
	if resp.StatusCode == http.StatusSeeOther {
		t.Fatal("signed in with a wrong password")
	}
	sources := logs.FilterFieldKey("source").AllUntimed()
	if len(sources) == 0 {
		t.Fatalf("no log entry names the source: %v", logs.AllUntimed())
	}
	for _, entry := range sources {
		if entry.ContextMap()["source"] != "192.0.2.7" {
			t.Errorf("%s has source %v", entry.Message, entry.ContextMap()["source"])
		}
	}
}

// forwarded adds the header of a proxy.
type forwarded struct{ http.RoundTripper }

func (f forwarded) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	return f.RoundTripper.RoundTrip(r)
}

// Sessions belong to one issuer, even where two keep them in one store.
func TestSessionOfOtherIssuer(t *testing.T) {
	s := newServer(t)
	s.load(site + strings.ReplaceAll(site, "localhost:", "127.0.0.1:"))
	first, second := s.url(""), "http://127.0.0.1:"+s.port
	c := newCustomer(s, first)
	c.signIn()
	origin, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	cookies := c.client.Jar.Cookies(origin)
	if len(cookies) == 0 {
		t.Fatal("signing in set no cookie")
	}
	for issuer, want := range map[string]int{first: http.StatusOK, second: http.StatusSeeOther} {
		r := s.request(http.MethodGet, issuer+"/", nil)
		for _, cookie := range cookies {
			r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
		}
		resp, _ := s.do(r)
		if resp.StatusCode != want {
			t.Errorf("%s answers the session with %s, not %d", issuer, resp.Status, want)
		}
	}
}
