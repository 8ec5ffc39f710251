package approval

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/approval/federation"
	"github.com/caddyciba/gateway/idp/approval/federation/federationtest"
	"github.com/caddyciba/gateway/idp/provider"
)

// elsewhereRig is an app whose customers have no passwords, and sign in at another
// provider.
type elsewhereRig struct {
	*rig
	other *federationtest.Provider
}

func newElsewhereRig(t *testing.T, change ...func(*provider.Config, *Config)) *elsewhereRig {
	t.Helper()
	g := &elsewhereRig{other: federationtest.New(t)}
	g.other.Expect(FederationCallback(testPublic, "bank"))
	g.rig = newRig(t, append([]func(*provider.Config, *Config){func(pc *provider.Config, c *Config) {
		withElsewhere(t, g.other, c)
		pc.ACRValues = []string{"loa3"}
		var err error
		c.Users, err = provider.NewStaticUsers([]provider.User{
			{ID: "sub-alice", Username: "alice", Name: "Alice Liddell"}, {ID: "sub-bob", Username: "bob"}, {ID: "sub-eve", Username: "eve", Disabled: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		pc.Users = c.Users
	}}, change...)...)
	g.behave(federationtest.Behavior{})
	return g
}

// withElsewhere lets customers sign in at the other provider.
func withElsewhere(t *testing.T, other *federationtest.Provider, c *Config) {
	t.Helper()
	client := federation.NewClient(nil)
	t.Cleanup(client.CloseIdleConnections)
	issuer, err := federation.New(federation.Config{
		Name: "bank", Issuer: other.URL, ClientID: federationtest.ClientID, ClientSecret: federationtest.ClientSecret,
		RedirectURL: FederationCallback(c.PublicURL, "bank"), Client: client, Now: c.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Federations = []Federation{{Issuer: issuer, Title: "Example Bank login", Claim: "preferred_username", Classes: map[string]string{"high": "loa3"}}}
}

// behave is Behave with the clock of the rig.
func (g *elsewhereRig) behave(b federationtest.Behavior) {
	b.Now = g.clock.Now
	g.other.Behave(b)
}

// away opens an address of ours that leads to the other provider, signs in there, and
// returns the address that leads back.
func (g *elsewhereRig) away(b *browser, path, name string) string {
	g.t.Helper()
	w := b.get(path)
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), g.other.URL+"/authorize?") {
		g.t.Fatalf("%s: %d to %s\n%s", path, w.Code, w.Header().Get("Location"), w.Body)
	}
	back, err := url.Parse(g.other.SignIn(w.Header().Get("Location"), name))
	if err != nil {
		g.t.Fatal(err)
	}
	return back.RequestURI()
}

// elsewhere signs in at the other provider.
func (g *elsewhereRig) elsewhere(b *browser, name string) *httptest.ResponseRecorder {
	g.t.Helper()
	return b.get(g.away(b, "/sign-in/with/bank", name))
}

// A customer signs in elsewhere, reads a request, proves anew who she is, and approves;
// the token says when and how.
func TestSignInElsewhere(t *testing.T) {
	g := newElsewhereRig(t)
	b := g.browser()
	if !strings.Contains(b.get("/sign-in?next=/history").Body.String(), `href="/sign-in/with/bank?next=%2Fhistory"`) {
		t.Error("the sign-in page does not lead there")
	}
	w := b.get(g.away(b, "/sign-in/with/bank?next=/history", "alice"))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/history" {
		t.Fatalf("coming back: %d to %s\n%s", w.Code, w.Header().Get("Location"), w.Body)
	}
	g.clock.advance(time.Minute)
	g.behave(federationtest.Behavior{Claims: func(c map[string]any) { c["acr"], c["amr"] = "high", []string{"hwk", "pin"} }})
	authReqID, id := g.ask("alice", "Sign in at counter 7")
	w = b.decide(id, "approve", testScope)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `href="/prove/with/bank?next=%2Frequests%2F`+id+`"`) || strings.Contains(w.Body.String(), `type="password"`) {
		t.Fatalf("without a new proof: %d\n%s", w.Code, w.Body)
	}
	if g.state("alice", id) != provider.StatePending {
		t.Fatal("it was approved without a new proof")
	}
	w = b.get(g.away(b, "/prove/with/bank?next=/requests/"+id, "alice"))
	if w.Header().Get("Location") != "/requests/"+id {
		t.Fatalf("after the proof: %d to %s\n%s", w.Code, w.Header().Get("Location"), w.Body)
	}
	if asked := g.other.Asked(); asked.Get("prompt") != "login" || asked.Get("max_age") != "0" {
		t.Errorf("asked with %v", asked)
	}
	w = b.decide(id, "approve", testScope)
	if w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StateApproved {
		t.Fatalf("approving: %d\n%s", w.Code, w.Body)
	}
	_, tokens := g.redeem(authReqID)
	says := claims(t, tokens["id_token"])
	amr, _ := says["amr"].([]any)
	at, _ := says["auth_time"].(float64)
	if says["acr"] != "loa3" || !slices.Equal(amr, []any{"hwk", "pin"}) || int64(at) != g.clock.Now().Unix() {
		t.Errorf("the token says %v", says)
	}
}

// Who is not known here, or disabled, does not get in; nor does anybody if the other
// provider's answer does not fit. Nothing tells why but our own words.
func TestElsewhereRefused(t *testing.T) {
	tests := map[string]struct {
		name     string
		behavior federationtest.Behavior
		status   int
		says     string
	}{
		"unknown":            {"mallory", federationtest.Behavior{}, 403, "not known here"},
		"disabled":           {"eve", federationtest.Behavior{}, 403, "not known here"},
		"nobody":             {"", federationtest.Behavior{}, 403, "not known here"},
		"claim is missing":   {"alice", federationtest.Behavior{Claims: func(c map[string]any) { delete(c, "preferred_username") }}, 403, "not known here"},
		"other nonce":        {"alice", federationtest.Behavior{Claims: func(c map[string]any) { c["nonce"] = "another" }}, 403, "did not work"},
		"other issuer":       {"alice", federationtest.Behavior{Answer: func(q url.Values) { q.Set("iss", "https://evil.example") }}, 403, "did not work"},
		"refused over there": {"alice", federationtest.Behavior{Answer: func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }}, 403, "did not complete"},
		"guessed state":      {"alice", federationtest.Behavior{Answer: func(q url.Values) { q.Set("state", "guessed") }}, 403, "another window"},
	}
	for name, test := range tests {
		g := newElsewhereRig(t)
		g.behave(test.behavior)
		b := g.browser()
		w := g.elsewhere(b, test.name)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
			t.Errorf("%s: %d, want %d and %q:\n%s", name, w.Code, test.status, test.says, w.Body)
		}
		if w := b.get("/"); w.Code != http.StatusSeeOther {
			t.Errorf("%s: somebody is signed in", name)
		}
	}
	down := newElsewhereRig(t)
	down.behave(federationtest.Behavior{Down: true})
	w := down.browser().get("/sign-in/with/bank")
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "cannot be reached") {
		t.Errorf("down: %d\n%s", w.Code, w.Body)
	}
}

// An answer is good once, for some minutes, in the browser that has begun: who has
// seen or planted an address can do nothing with it.
func TestElsewhereIsBoundToTheBrowser(t *testing.T) {
	g := newElsewhereRig(t)
	mine, theirs := g.browser(), g.browser()
	theirs.get("/sign-in")
	planted := g.away(mine, "/sign-in/with/bank", "alice")
	if w := theirs.get(planted); w.Code != http.StatusForbidden || theirs.get("/").Code != http.StatusSeeOther {
		t.Errorf("in another browser: %d", w.Code)
	}
	if w := g.browser().get(planted); w.Code != http.StatusForbidden {
		t.Errorf("in a new browser: %d", w.Code)
	}
	if w := mine.get(planted); w.Code != http.StatusSeeOther {
		t.Errorf("in the browser: %d\n%s", w.Code, w.Body)
	}
	again := g.browser()
	used := g.away(again, "/sign-in/with/bank", "alice")
	cookies := map[string]string{}
	for name, value := range again.cookies {
		cookies[name] = value
	}
	again.get(used)
	again.cookies = cookies
	if w := again.get(used); w.Code != http.StatusForbidden {
		t.Errorf("a second time: %d", w.Code)
	}
	late := g.browser()
	address := g.away(late, "/sign-in/with/bank", "alice")
	g.clock.advance(federationTime)
	if w := late.get(address); w.Code != http.StatusForbidden {
		t.Errorf("too late: %d", w.Code)
	}
	for _, path := range []string{"/sign-in/with/bank", address} {
		if w := g.browser().do(http.MethodHead, path, nil); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
	}
}

// A new proof is one of the person who is signed in, and of now.
func TestProofElsewhere(t *testing.T) {
	g := newElsewhereRig(t)
	b := g.browser()
	g.elsewhere(b, "alice")
	g.clock.advance(time.Minute)
	_, id := g.ask("alice", "Sign in at counter 7")
	before := g.clock.Now()
	for name, try := range map[string]struct {
		name     string
		behavior federationtest.Behavior
		says     string
	}{
		"somebody else":       {"bob", federationtest.Behavior{}, "Somebody else is signed in there"},
		"an old sign-in":      {"alice", federationtest.Behavior{SignedIn: before.Add(-10 * time.Minute)}, "did not work"},
		"no time of sign-in":  {"alice", federationtest.Behavior{Claims: func(c map[string]any) { delete(c, "auth_time") }}, "did not work"},
		"not known over here": {"mallory", federationtest.Behavior{}, "not known here"},
	} {
		g.behave(try.behavior)
		w := b.get(g.away(b, "/prove/with/bank?next=/requests/"+id, try.name))
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), try.says) {
			t.Errorf("%s: %d\n%s", name, w.Code, w.Body)
		}
		b.decide(id, "approve", testScope)
		if g.state("alice", id) != provider.StatePending {
			t.Fatalf("%s: approved", name)
		}
	}
	// Who does not say when she has signed in gets in, and approves nothing by that.
	g.behave(federationtest.Behavior{Claims: func(c map[string]any) { delete(c, "auth_time") }})
	other := g.browser()
	if w := g.elsewhere(other, "alice"); w.Code != http.StatusSeeOther {
		t.Fatalf("without a time: %d\n%s", w.Code, w.Body)
	}
	other.decide(id, "approve", testScope)
	if g.state("alice", id) != provider.StatePending {
		t.Fatal("approved with a sign-in of nobody knows when")
	}
	// Without a session there is nothing to prove.
	if w := g.browser().get("/prove/with/bank"); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/sign-in") {
		t.Errorf("without a session: %d to %s", w.Code, w.Header().Get("Location"))
	}
}

// A class that a sign-in elsewhere does not stand for cannot be reached by it.
func TestClassesElsewhere(t *testing.T) {
	g := newElsewhereRig(t, func(pc *provider.Config, _ *Config) { pc.ACRValues = []string{"loa3", "phr"} })
	b := g.browser()
	g.elsewhere(b, "alice")
	request := func(acr string) string {
		_, id := g.start("alice", url.Values{"acr_values": {acr}})
		return id
	}
	phr := b.decide(request("phr"), "approve", testScope)
	if phr.Code != http.StatusForbidden {
		t.Errorf("for phr: %d\n%s", phr.Code, phr.Body)
	}
	id := request("loa3")
	if w := b.decide(id, "approve", testScope); !strings.Contains(w.Body.String(), "/prove/with/bank") {
		t.Errorf("for loa3: %d\n%s", w.Code, w.Body)
	}
	// The sign-in did not reach what it might have.
	b.get(g.away(b, "/prove/with/bank?next=/requests/"+id, "alice"))
	b.decide(id, "approve", testScope)
	if g.state("alice", id) != provider.StatePending {
		t.Error("approved with a weaker class")
	}
}

// Where sign-in leads to is one of our own pages (threats.md U09), and a flood of
// sign-ins is slowed down.
func TestElsewhereNext(t *testing.T) {
	g := newElsewhereRig(t)
	for _, next := range []string{"//evil.example", "https://evil.example", "/\\evil", "/sign-out", "%2f%2fevil"} {
		b := g.browser()
		w := b.get(g.away(b, "/sign-in/with/bank?"+url.Values{"next": {next}}.Encode(), "alice"))
		if w.Header().Get("Location") != "/" {
			t.Errorf("%s: leads to %s", next, w.Header().Get("Location"))
		}
	}
	b := g.browser()
	for range federationAttempts {
		b.get("/sign-in/with/bank")
	}
	w := b.get("/sign-in/with/bank")
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("after a flood: %d", w.Code)
	}
}
