package idp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/provider"
)

func init() { caddy.RegisterModule(new(guestPolicy)) }

// guestPolicy is a policy that somebody else has written, and that does what
// policyBehaves says.
type guestPolicy struct{}

var policyBehaves atomic.Pointer[string]

func (*guestPolicy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: policyNamespace + ".test_guest", New: func() caddy.Module { return new(guestPolicy) }}
}

func (*guestPolicy) Check(context.Context, *provider.PolicyRequest) error {
	behavior := policyBehaves.Load()
	switch {
	case behavior == nil:
		return nil
	case *behavior == "panic":
		panic("the policy is broken")
	}
	return errors.New("the policy is down")
}

// extended is the site with more lines in its directive.
func extended(lines ...string) string {
	return strings.Replace(site, "store memory", "store memory\n\t\t"+strings.Join(lines, "\n\t\t"), 1)
}

// A policy sees requests, refuses with the words that it is configured with, and holds
// from a reload on. One that fails or panics lets nothing through.
func TestPolicies(t *testing.T) {
	s := newServer(t)
	issuer := s.url("")
	start := func(message string) (int, map[string]any) {
		return s.post(issuer+"/backchannel-authentication", url.Values{"scope": {"openid"}, "login_hint": {"anna"}, "binding_message": {message}})
	}
	const cel = "policy cel `binding_message != 'no' && user.username == 'anna' && client.id == 'gateway' && source != ''` {\n\t\t\tdescription \"Not that.\"\n\t\t}"
	s.load(extended(cel))
	status, answer := start("no")
	if status != http.StatusForbidden || answer["error"] != "access_denied" || answer["error_description"] != "Not that." {
		t.Errorf("what the policy refuses: %d %v", status, answer)
	}
	status, answer = start("yes")
	if status != http.StatusOK {
		t.Errorf("what it lets through: %d %v", status, answer)
	}
	s.load(site)
	status, answer = start("no")
	if status != http.StatusOK {
		t.Errorf("without the policy: %d %v", status, answer)
	}
	config := strings.Replace(string(s.adapt(extended("policy cel true"))), `"policies":[{`, `"policies":[{"policy":"test_guest"},{`, 1)
	err := caddy.Load([]byte(config), true)
	if err != nil {
		t.Fatal(err)
	}
	defer policyBehaves.Store(nil)
	for _, behavior := range []string{"fail", "panic"} {
		policyBehaves.Store(&behavior)
		status, answer = start("yes")
		if status != http.StatusServiceUnavailable || answer["error"] != "temporarily_unavailable" {
			t.Errorf("a policy that %ss: %d %v", behavior, status, answer)
		}
	}
}

func TestCELPolicy(t *testing.T) {
	request := &provider.PolicyRequest{
		Client: provider.ClientInfo{ID: "gateway", Name: "Bank"},
		User:   &provider.User{ID: "sub-1", Username: "anna", Name: "Anna", Claims: map[string]any{"limit": 500, "tags": []any{"vip"}}},
		Scopes: []string{"openid", "transfers"}, ACRValues: []string{"phr"}, BindingMessage: "Pay 10 EUR",
		AuthorizationDetails: []byte(`[{"type":"wire_transfer","amount":"10.50","count":2,"large":1e400,"exact":9007199254740993}]`),
		Context:              []byte(`{"ip":"192.0.2.1","score":0.7}`),
		Parameters:           map[string]string{"branch": "4711"},
		Lifetime:             2 * time.Minute, Source: "192.0.2.7", Signed: true, Received: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
	}
	bare := &provider.PolicyRequest{User: &provider.User{}, Received: time.Now()}
	for expression, want := range map[string]bool{
		`details.all(d, double(d.amount) <= 10.5)`: true, `details.all(d, double(d.amount) < 10.5)`: false,
		`details.exists(d, d.type == "wire_transfer" && d.count == 2)`: true, `details[0].count < 2.5`: true,
		`details[0].large > 1e300`: true, `details[0].exact == 9007199254740993`: true, `details[0].exact == 9007199254740992`: false,
		`context.score < 0.8 && context.ip == "192.0.2.1"`: true, `context.missing == 1`: false, `!(context.missing == 1)`: false,
		`has(context.missing)`: false, `!has(context.missing)`: true, `user.claims.limit > 400`: true, `"vip" in user.claims.tags`: true,
		`user.claims.tags == "vip"`: false, `user.subject == "sub-1" && user.name == "Anna"`: true,
		`"transfers" in scopes && "phr" in acr_values && resources.size() == 0`:  true,
		`client.id == "gateway" && signed && source.startsWith("192.")`:          true,
		`received.getHours("Europe/Berlin") == 13 && lifetime <= duration("2m")`: true,
		`parameters.branch == "4711"`:                                            true, `binding_message.contains("EUR")`: true, `1 / (size(scopes) - 2) == 1`: false,
		`user.claims.limit`:      false, // of no type that is known before
		`lists.range(1)[0] == 0`: false,
	} {
		policy := &CELPolicy{Expression: expression, logger: zap.NewNop()}
		err := policy.check()
		if err != nil {
			if want || !strings.Contains(err.Error(), "policy expression") {
				t.Errorf("%s: %v", expression, err)
			}
			continue
		}
		err = policy.Check(t.Context(), request)
		var refusal *provider.Refusal
		if (err == nil) != want || err != nil && !errors.As(err, &refusal) {
			t.Errorf("%s: %v", expression, err)
		}
	}
	policy := &CELPolicy{Expression: `size(details) == 0 && size(context) == 0 && size(user.claims) == 0`, logger: zap.NewNop()}
	err := policy.check()
	if err != nil {
		t.Fatal(err)
	}
	err = policy.Check(t.Context(), bare)
	if err != nil {
		t.Errorf("a request with nothing in it: %v", err)
	}
	// What costs too much is stopped, and refuses.
	policy.Expression = `[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e > 0)))))`
	err = policy.check()
	if err != nil {
		t.Fatal(err)
	}
	err = policy.Check(t.Context(), bare)
	if err == nil {
		t.Error("an expression without bounds was evaluated to its end")
	}
}

// A hint may be a claim, if it is one customer's.
func TestHintsByClaim(t *testing.T) {
	s := newServer(t)
	ben := "user ben {\n\t\t\tpassword {env.IDP_TEST_PASSWORD}\n\t\t\tclaim phone_number +1\n\t\t\tclaim nickname anna\n\t\t}"
	carl := "user carl {\n\t\t\tpassword {env.IDP_TEST_PASSWORD}\n\t\t\tclaim phone_number +2\n\t\t\tclaim customer_id 7 8\n\t\t}"
	dora := "user dora {\n\t\t\tpassword {env.IDP_TEST_PASSWORD}\n\t\t\tclaim phone_number +2\n\t\t\tclaim email +1\n\t\t\tdisabled\n\t\t}"
	s.load(extended("hints claim phone_number customer_id nickname", ben, carl, dora))
	issuer := s.url("")
	for hint, subject := range map[string]string{
		"anna": "anna", "ben": "ben", "+1": "ben", "7": "carl", "8": "carl", "+2": "", "+3": "", "7 8": "", "dora": "",
	} {
		before := countPending(t, s, issuer, subject)
		status, answer := s.post(issuer+"/backchannel-authentication", url.Values{"scope": {"openid"}, "login_hint": {hint}})
		switch {
		case subject == "" && (status != http.StatusBadRequest || answer["error"] != "unknown_user_id"):
			t.Errorf("%s: %d %v", hint, status, answer)
		case subject != "" && (status != http.StatusOK || countPending(t, s, issuer, subject) != before+1):
			t.Errorf("%s: %d %v", hint, status, answer)
		}
	}
	// A directory that somebody else has written must be able to do it.
	err := caddy.Load(s.adapt(strings.Replace(guestSite("Anna"), "store memory", "store memory\n\t\thints claim phone_number", 1)), true)
	if err == nil || !strings.Contains(err.Error(), "cannot find them by a claim") {
		t.Errorf("loading: %v", err)
	}
}

// countPending counts the requests that wait for a customer.
func countPending(t *testing.T, s *server, issuer, subject string) int {
	t.Helper()
	pending, err := s.instance(issuer).provider.Pending(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return len(pending)
}

// Claims come from a service at the moment in which they are needed.
func TestHTTPClaims(t *testing.T) {
	s := newServer(t)
	t.Setenv("IDP_TEST_TOKEN", "the-token-of-the-provider-41c2")
	var answer atomic.Pointer[func(http.ResponseWriter)]
	var asked atomic.Pointer[claimsQuestion]
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q claimsQuestion
		err := json.NewDecoder(r.Body).Decode(&q)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer the-token-of-the-provider-41c2" {
			t.Errorf("%s %v %v", r.Method, r.Header, err)
		}
		asked.Store(&q)
		(*answer.Load())(w)
	}))
	defer service.Close()
	says := func(status int, contentType, body string) {
		f := func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Location", "/")
			w.WriteHeader(status)
			_, err := w.Write([]byte(body))
			if err != nil {
				t.Error(err)
			}
		}
		answer.Store(&f)
	}
	config := extended("claims_from http " + service.URL + " {\n\t\t\ttoken {env.IDP_TEST_TOKEN}\n\t\t\tnetworks 127.0.0.1\n\t\t\ttimeout 1s\n\t\t}")
	s.load(strings.Replace(config, "audience https://api.example.com", "audience https://api.example.com\n\t\t\tclaims account limit", 1))
	issuer := s.url("")
	id := s.start(issuer, "transfers")
	s.approve(issuer)
	for _, bad := range [][]any{
		{500, "application/json", "{}"}, {301, "application/json", "{}"}, {200, "text/html", "{}"}, {200, "application/json", "[]"},
		{200, "application/json", "{} {}"}, {200, "application/json", strings.Repeat(" ", maxClaimsAnswer+1)},
	} {
		says(bad[0].(int), bad[1].(string), bad[2].(string))
		status, refusal := s.poll(issuer, id)
		if status != http.StatusServiceUnavailable || refusal["error"] != "temporarily_unavailable" {
			t.Errorf("%v: %d %v", bad, status, refusal)
		}
	}
	says(200, "application/json; charset=utf-8", `{"account":"DE02","limit":9007199254740993,"sub":"evil","other":1}`)
	status, tokens := s.poll(issuer, id)
	access, _ := tokens["access_token"].(string)
	claims := s.claims(access)
	if status != http.StatusOK || claims["account"] != "DE02" || claims["sub"] != "anna" || claims["other"] != nil {
		t.Fatalf("%d %v %v", status, tokens, claims)
	}
	if q := asked.Load(); q.Subject != "anna" || q.Client != "gateway" || q.Use != "access_token" || !slices.Equal(q.Claims, []string{"account", "limit"}) {
		t.Errorf("asked %+v", q)
	}
	if s.claims(access)["limit"] == nil {
		t.Errorf("claims %v", claims)
	}
	says(404, "text/plain", "no such customer")
	id = s.start(issuer, "transfers")
	s.approve(issuer)
	status, tokens = s.poll(issuer, id)
	if status != http.StatusOK || s.claims(tokens["access_token"])["account"] != nil {
		t.Errorf("%d %v", status, tokens)
	}
}
