package idp

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// operatorSite is a site with its admin API, as commands see it.
type operatorSite struct {
	*server
	admin *httptest.Server
}

func newOperatorSite(t *testing.T) operatorSite {
	t.Helper()
	s := newServer(t)
	s.load(site)
	api := &adminAPI{app: activeApp}
	routes := http.NewServeMux()
	for _, route := range api.Routes() {
		routes.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			err := route.Handler.ServeHTTP(w, r)
			var failed caddy.APIError
			if errors.As(err, &failed) {
				http.Error(w, failed.Err.Error(), failed.HTTPStatus)
			} else if err != nil {
				t.Errorf("%s %s: %v", r.Method, r.URL, err)
			}
		})
	}
	admin := httptest.NewServer(routes)
	t.Cleanup(admin.Close)
	return operatorSite{server: s, admin: admin}
}

// run runs a command and returns what it prints.
func (o operatorSite) run(args ...string) (string, error) {
	o.t.Helper()
	cmd := userCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append(args, "--address", strings.TrimPrefix(o.admin.URL, "http://")))
	err := cmd.Execute()
	return out.String(), err
}

// works is run for commands that succeed.
func (o operatorSite) works(args ...string) string {
	o.t.Helper()
	out, err := o.run(args...)
	if err != nil {
		o.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// What an operator changes of what customers prove with is an event.
func TestEventsOfOperator(t *testing.T) {
	o := newOperatorSite(t)
	o.loadWith("\tevents {\n\t\ton * test_spy\n\t}\n", site)
	issuer := o.url("")
	o.works("add", "berta")
	eventsOf(t)
	for _, c := range []struct{ command, change string }{
		{"link", "link_made"}, {"forget", "all_removed"}, {"remove", "all_removed"},
	} {
		o.works(c.command, "berta")
		data := eventsOf(t)["ciba_idp_factors_changed"]
		if data["issuer"] != issuer || data["subject"] != "berta" || data["by"] != "operator" || data["change"] != c.change {
			t.Errorf("%s: %v", c.command, data)
		}
	}
	if counted(t, collectors.events, issuer, "", eventFactors) != 4 {
		t.Error("not all were counted")
	}
}

// A customer who is added can be asked at once, opens the link once, and is locked
// out and removed by command.
func TestUserCommands(t *testing.T) {
	o := newOperatorSite(t)
	issuer := o.url("")
	ask := func(want int) {
		t.Helper()
		status, answer := o.post(issuer+"/backchannel-authentication", url.Values{"scope": {"openid"}, "login_hint": {"berta"}})
		if status != want {
			t.Errorf("asking: %d %v, want %d", status, answer, want)
		}
	}
	ask(http.StatusBadRequest)
	out := o.works("add", "berta", "--name", "Berta Ünal", "--claim", "email=berta@example.com", "--expires", "2h")
	_, code, found := strings.Cut(out, issuer+"/enroll#")
	code = strings.Fields(code)[0]
	if !found || len(code) != 43 || !strings.Contains(out, "█") {
		t.Fatalf("no link:\n%s", out)
	}
	ask(http.StatusOK)
	link, err := o.instance(issuer).factors.OpenLink(t.Context(), code, []byte("phone"))
	if err != nil || link.Subject != "berta" {
		t.Errorf("link: %+v, %v", link, err)
	}
	another := o.works("link", "berta", "--json")
	var info linkInfo
	err = json.Unmarshal([]byte(another), &info)
	if err != nil || info.Code == code || info.URL != issuer+"/enroll#"+info.Code {
		t.Errorf("another link: %s, %v", another, err)
	}
	_, err = o.instance(issuer).factors.OpenLink(t.Context(), code, []byte("phone"))
	if err == nil {
		t.Error("the first link is still good")
	}
	for want, args := range map[string][]string{"Berta Ünal": {"list"}, "Open link until": {"show", "berta"}} {
		out = o.works(args...)
		if !strings.Contains(out, want) {
			t.Errorf("%v prints\n%s", args, out)
		}
	}
	o.works("disable", "berta")
	ask(http.StatusBadRequest)
	o.works("enable", "berta")
	ask(http.StatusOK)
	o.works("sign-out", "berta")
	o.works("forget", "berta")
	_, err = o.instance(issuer).factors.OpenLink(t.Context(), info.Code, []byte("phone"))
	if err == nil {
		t.Error("the link is good after forget")
	}
	o.works("remove", "berta")
	ask(http.StatusBadRequest)
	if out = o.works("list"); strings.Contains(out, "berta") {
		t.Errorf("removed and still listed:\n%s", out)
	}
}

func TestUserCommandsRefused(t *testing.T) {
	o := newOperatorSite(t)
	o.works("add", "berta")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"twice":                   {[]string{"add", "BERTA"}, "409"},
		"a configured user":       {[]string{"add", "anna"}, "409"},
		"a configured subject":    {[]string{"add", "carl", "--subject", "anna"}, "409"},
		"spaces":                  {[]string{"add", "carl otto"}, "400"},
		"a reserved claim":        {[]string{"add", "carl", "--claim", "sub=x"}, "400"},
		"a claim without value":   {[]string{"add", "carl", "--claim", "x"}, "NAME=VALUE"},
		"a link for too long":     {[]string{"add", "carl", "--expires", "900h"}, "400"},
		"nobody":                  {[]string{"show", "nobody"}, "404"},
		"removing configured":     {[]string{"remove", "anna"}, "404"},
		"disabling configured":    {[]string{"disable", "anna"}, "404"},
		"a passkey that is none":  {[]string{"forget", "berta", "x"}, "404"},
		"an app that is none":     {[]string{"forget", "berta", "totp"}, "404"},
		"another provider":        {[]string{"list", "--issuer", "https://other.example"}, "404"},
		"a path in the user name": {[]string{"show", "a/../berta"}, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := o.run(test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v: %v\n%s", test.args, err, out)
			}
		})
	}
	// Those whom the config names get links, too.
	out := o.works("link", "anna")
	if !strings.Contains(out, "/enroll#") {
		t.Errorf("link for anna:\n%s", out)
	}
	out = o.works("show", "anna", "--json")
	if !strings.Contains(out, `"added":false`) || strings.Contains(out, "argon2") {
		t.Errorf("anna: %s", out)
	}
}

func TestAdminAPIRefuses(t *testing.T) {
	o := newOperatorSite(t)
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"PUT", "/ciba_idp/users", "", http.StatusMethodNotAllowed},
		{"GET", "/ciba_idp/users/anna/link", "", http.StatusMethodNotAllowed},
		{"GET", "/ciba_idp/users/anna/secrets", "", http.StatusNotFound},
		{"GET", "/ciba_idp/users/anna/factors/x/y", "", http.StatusNotFound},
		{"POST", "/ciba_idp/users", "no JSON", http.StatusBadRequest},
		{"POST", "/ciba_idp/users", `{"username":"x","admin":true}`, http.StatusBadRequest},
		{"POST", "/ciba_idp/users", `{}`, http.StatusBadRequest},
		{"PATCH", "/ciba_idp/users/anna", `{}`, http.StatusBadRequest},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, o.admin.URL+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, body := o.do(r)
		if resp.StatusCode != test.want {
			t.Errorf("%s %s: %s: %s", test.method, test.path, resp.Status, body)
		}
	}
}

// Without a provider there is nothing to look after, and no error at start.
func TestAdminAPIWithoutProvider(t *testing.T) {
	api := &adminAPI{app: func() (*App, error) { return nil, nil }}
	r := httptest.NewRequest(http.MethodGet, adminBase, nil)
	err := api.serve(httptest.NewRecorder(), r)
	var failed caddy.APIError
	if !errors.As(err, &failed) || failed.HTTPStatus != http.StatusNotFound {
		t.Errorf("without a provider: %v", err)
	}
}

// What a customer has approved, and how, is there for the operator.
func TestAdminEvidence(t *testing.T) {
	o := newOperatorSite(t)
	issuer := o.url("")
	get := func(id string) (int, string) {
		t.Helper()
		resp, body := o.do(o.request(http.MethodGet, o.admin.URL+adminEvidence+id, nil))
		return resp.StatusCode, string(body)
	}
	o.start(issuer)
	pending, err := o.instance(issuer).provider.Pending(t.Context(), "anna")
	if err != nil || len(pending) != 1 {
		t.Fatalf("%v, %v", pending, err)
	}
	id := pending[0].ID
	for _, unknown := range []string{id, "unknown", ""} {
		status, body := get(unknown)
		if status != http.StatusNotFound {
			t.Errorf("before the approval, %q: %d %s", unknown, status, body)
		}
	}
	c := newCustomer(o.server, issuer)
	c.signIn()
	resp, page := c.decide(c.open(), "approve", annaPassword)
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("approving: %s\n%s", resp.Status, page)
	}
	status, body := get(id)
	if status != http.StatusOK || !strings.Contains(body, `"method":"password"`) || !strings.Contains(body, "Pay 10 EUR") {
		t.Errorf("after it: %d %s", status, body)
	}
}
