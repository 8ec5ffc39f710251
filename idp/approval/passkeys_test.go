package approval

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/approval/factor/factortest"
	"github.com/caddyciba/gateway/idp/provider"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(s[:])
}

// U13: the way with a passkey stays open when no more passwords are taken, whether
// for the user or for the source.
func TestPasskeySignIn(t *testing.T) {
	g := newRig(t)
	a := g.passkey("alice")
	for range userAttempts {
		g.browser().signIn("alice", "wrong")
	}
	w := g.browser().signIn("alice", testPassword)
	if w.Code != http.StatusTooManyRequests {
		t.Fatalf("password after too many: %d", w.Code)
	}
	b := g.browser()
	b.get("/sign-in")
	before := b.cookies[g.app.cookieName("form")]
	w = b.signInPasskey(a)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Fatalf("passkey: %d\n%s", w.Code, w.Body)
	}
	if b.cookies[g.app.cookieName("session")] == before || b.get("/").Code != http.StatusOK {
		t.Error("no new session")
	}
}

// U17–U22: what is wrong with a passkey is told the same way, and starts no session.
func TestPasskeySignInRefused(t *testing.T) {
	tests := map[string]struct {
		lie  func(*factortest.Authenticator)
		want int
		says string
	}{
		"U17 origin":        {func(a *factortest.Authenticator) { a.Origin = "https://idp.evil" }, http.StatusUnauthorized, "not known here"},
		"U18 relying party": {func(a *factortest.Authenticator) { a.RPID = "evil" }, http.StatusUnauthorized, "not known here"},
		"U19 not verified":  {func(a *factortest.Authenticator) { a.Flags = factortest.UP }, http.StatusUnauthorized, "not known here"},
		"U22 unknown":       {func(a *factortest.Authenticator) { a.ID = []byte("x") }, http.StatusUnauthorized, "not known here"},
		"U22 no handle":     {func(a *factortest.Authenticator) { a.Handle = nil }, http.StatusBadRequest, "not known here"},
		"changed":           {func(a *factortest.Authenticator) { a.Flags |= factortest.BE }, http.StatusUnauthorized, "add it again"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			a, b := g.passkey("alice"), g.browser()
			test.lie(a)
			w := b.signInPasskey(a)
			if w.Code != test.want || !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("%d\n%s", w.Code, w.Body)
			}
			if b.cookies[g.app.cookieName("session")] != "" {
				t.Error("a session began")
			}
		})
	}
}

// U21: an answer is taken once, in the browser for which it was made.
func TestPasskeySignInReplay(t *testing.T) {
	g := newRig(t)
	a, b, other := g.passkey("alice"), g.browser(), g.browser()
	page := b.get("/sign-in")
	answer := string(a.Get([]byte(attribute(t, page, "data-options"))))
	w := other.post("/sign-in/passkey", url.Values{"token": {token(t, other.get("/sign-in"))}, "response": {answer}})
	if w.Code != http.StatusUnauthorized {
		t.Errorf("in another browser: %d", w.Code)
	}
	form := url.Values{"token": {token(t, page)}, "response": {answer}}
	cookie := b.cookies[g.app.cookieName("form")]
	w = b.post("/sign-in/passkey", form)
	if w.Code != http.StatusSeeOther {
		t.Fatalf("first: %d\n%s", w.Code, w.Body)
	}
	replay := g.browser()
	replay.cookies[g.app.cookieName("form")] = cookie
	w = replay.post("/sign-in/passkey", form)
	if w.Code != http.StatusUnauthorized || replay.cookies[g.app.cookieName("session")] != "" {
		t.Errorf("again: %d", w.Code)
	}
	late := g.browser()
	page = late.get("/sign-in")
	g.clock.advance(11 * time.Minute)
	answer = string(a.Get([]byte(attribute(t, page, "data-options"))))
	w = late.post("/sign-in/passkey", url.Values{"token": {token(t, page)}, "response": {answer}})
	if w.Code != http.StatusUnauthorized {
		t.Errorf("after 11 minutes: %d", w.Code)
	}
}

// A disabled user's passkey is worth nothing.
func TestPasskeyOfDisabledUser(t *testing.T) {
	users := &switchable{}
	g := newRig(t, func(pc *provider.Config, c *Config) {
		users.UserStore = c.Users
		c.Users = users
	})
	a := g.passkey("alice")
	users.off = true
	w := g.browser().signInPasskey(a)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("sign-in: %d", w.Code)
	}
}

// The approval that a passkey signs reaches the token, and the evidence proves it to
// anybody who has nothing but the evidence.
func TestPasskeyApproval(t *testing.T) {
	for name, test := range map[string]struct {
		flags byte
		acr   string
		amr   []string
	}{
		"on one device": {factortest.UP | factortest.UV, "phrh", []string{"hwk", "user", "mfa"}},
		"synced":        {factortest.UP | factortest.UV | factortest.BE | factortest.BS, "phr", []string{"swk", "user", "mfa"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, withPayment, withClasses)
			a := g.authenticator()
			a.Flags = test.flags
			g.registerWith(a, "alice")
			b := g.browser()
			b.signInPasskey(a)
			g.clock.advance(time.Minute)
			authReqID, id := g.pay("alice", "Invoice 4711")
			g.clock.advance(time.Second)
			w := b.post("/requests/"+id+"/decision", b.sign(a, id, "profile"))
			if w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StateApproved {
				t.Fatalf("approval: %d\n%s", w.Code, w.Body)
			}
			_, tokens := g.redeem(authReqID)
			told := claims(t, tokens["id_token"])
			var amr []string
			for _, m := range told["amr"].([]any) {
				amr = append(amr, m.(string))
			}
			if told["acr"] != test.acr || !slices.Equal(amr, test.amr) || int64(told["auth_time"].(float64)) != g.clock.Now().Unix() {
				t.Errorf("acr %v, amr %v, auth_time %v", told["acr"], amr, told["auth_time"])
			}
			checkEvidence(t, g, id, "approve\nmy_wire_transfer_scope openid profile")
		})
	}
}

// registerWith gives a user a passkey on an authenticator.
func (g *rig) registerWith(a *factortest.Authenticator, user string) {
	g.t.Helper()
	vault := g.app.cfg.Factors
	options, err := vault.RegistrationOptions(context.Background(), &provider.User{ID: "sub-" + user, Username: user}, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	_, err = vault.Register(context.Background(), "sub-"+user, nil, a.Create(options), "Phone", nil)
	if err != nil {
		g.t.Fatal(err)
	}
}

// checkEvidence recomputes the challenge that was signed from the evidence alone.
func checkEvidence(t *testing.T, g *rig, id, chosen string) {
	t.Helper()
	all, err := g.app.Evidence(context.Background(), id)
	if err != nil || len(all) != 1 {
		t.Fatalf("evidence: %+v, %v", all, err)
	}
	e := all[0]
	statement := factor.Statement{Subject: e.Subject, Request: e.Request, Shown: sha256.Sum256(e.Shown), Choice: e.Choice}
	var response struct {
		Response struct {
			ClientData string `json:"clientDataJSON"`
		} `json:"response"`
	}
	err = json.Unmarshal(e.Response, &response)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(response.Response.ClientData)
	if err != nil {
		t.Fatal(err)
	}
	var client struct {
		Challenge string `json:"challenge"`
	}
	err = json.Unmarshal(raw, &client)
	if err != nil {
		t.Fatal(err)
	}
	want := statement.Challenge(e.Ticket)
	if client.Challenge != base64.RawURLEncoding.EncodeToString(want[:]) {
		t.Error("what was signed is not what the evidence says")
	}
	if e.Choice != chosen || !strings.Contains(string(e.Shown), "Danny Ocean") || len(e.PublicKey) == 0 {
		t.Errorf("evidence: choice %q, shown %s", e.Choice, e.Shown)
	}
}

// Whatever is changed after the passkey has signed makes its answer void, and nothing
// is approved.
func TestPasskeyApprovalBound(t *testing.T) {
	g := newRig(t, withPayment, withClasses)
	a, bobs := g.passkey("alice"), g.passkey("bob")
	_, id := g.pay("alice", "Invoice 4711")
	_, other := g.pay("alice", "Invoice 4712")
	b := g.browser()
	b.signInPasskey(a)
	second := g.browser()
	second.signInPasskey(a)
	refused := func(name string, w interface{ Result() *http.Response }) {
		t.Helper()
		status := w.Result().StatusCode
		if status != http.StatusUnauthorized || g.state("alice", id) != provider.StatePending {
			t.Errorf("%s: status %d, request %s", name, status, g.state("alice", id))
		}
	}
	form := b.sign(a, id)
	form["scope"] = []string{"profile"}
	refused("a permission more", b.post("/requests/"+id+"/decision", form))

	form = b.sign(a, other)
	form["token"] = []string{token(t, b.get("/requests/"+id))}
	refused("signed for another request", b.post("/requests/"+id+"/decision", form))

	form = b.sign(a, id)
	form["token"] = []string{token(t, second.get("/requests/"+id))}
	refused("signed in another session", second.post("/requests/"+id+"/decision", form))

	form = b.sign(a, id)
	b.header.Set("Accept-Language", "de")
	refused("shown in another language", b.post("/requests/"+id+"/decision", form))
	b.header.Del("Accept-Language")

	refused("bob's passkey", b.post("/requests/"+id+"/decision", b.sign(bobs, id)))

	form = b.sign(a, id)
	answer := form.Get("response")
	form.Set("response", strings.Replace(answer, `"signature":"M`, `"signature":"N`, 1))
	w := b.post("/requests/"+id+"/decision", form)
	if w.Code == http.StatusSeeOther || g.state("alice", id) != provider.StatePending {
		t.Errorf("another signature: %d", w.Code)
	}
	evidence, err := g.app.Evidence(context.Background(), id)
	if err != nil || len(evidence) != 0 {
		t.Errorf("evidence of what was not approved: %v, %v", evidence, err)
	}
	w = b.post("/requests/"+id+"/decision", b.sign(a, id))
	if w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StateApproved {
		t.Errorf("at last: %d\n%s", w.Code, w.Body)
	}
}

// Who has a passkey signs each approval, however fresh the session is; the password
// alone is not enough any more. A client's policy can lift the signature, not that.
func TestPasskeyRequired(t *testing.T) {
	for name, test := range map[string]struct {
		session  bool // client's policy
		passkey  bool // signed in with it
		acr      string
		approved bool
	}{
		"signed in with a passkey":            {false, true, "", false},
		"signed in with a password":           {false, false, "", false},
		"policy, passkey":                     {true, true, "", true},
		"policy, passkey, class that it has":  {true, true, "phr", true},
		"policy, password":                    {true, false, "", false},
		"policy, password, class that it has": {true, false, "pwd", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, withClasses, func(pc *provider.Config, _ *Config) { pc.Clients[0].SessionApproval = test.session })
			a := g.passkey("alice")
			form := url.Values{"binding_message": {"Invoice 4711"}}
			if test.acr != "" {
				form.Set("acr_values", test.acr)
			}
			_, id := g.start("alice", form)
			g.clock.advance(time.Second)
			b := g.browser()
			if test.passkey {
				b.signInPasskey(a)
			} else {
				b.signIn("alice", testPassword)
			}
			w := b.decide(id, "approve")
			approved := g.state("alice", id) == provider.StateApproved
			if approved != test.approved {
				t.Errorf("status %d, approved %t\n%s", w.Code, approved, w.Body)
			}
			form = b.decision(id, "approve")
			form.Set("password", testPassword)
			if !approved {
				w = b.post("/requests/"+id+"/decision", form)
				if w.Code != http.StatusForbidden || g.state("alice", id) != provider.StatePending {
					t.Errorf("with the password: %d, %s", w.Code, g.state("alice", id))
				}
			}
		})
	}
}

// A request that demands more than the customer has says so, and leads to where a
// passkey is added.
func TestPasskeyDemanded(t *testing.T) {
	g := newRig(t, withClasses)
	_, id := g.start("alice", url.Values{"acr_values": {"phr"}, "binding_message": {"Invoice 4711"}})
	w := g.signedIn("alice").decide(id, "approve")
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `href="/devices"`) {
		t.Errorf("%d\n%s", w.Code, w.Body)
	}
}
