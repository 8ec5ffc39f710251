package approval

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// act posts a form of the page of devices.
func (b *browser) act(action string, more url.Values) (status int, location, body string) {
	b.g.t.Helper()
	// A page without a form for it has no token to be found.
	secret, err := base64.RawURLEncoding.DecodeString(b.cookies[b.g.app.cookieName("session")])
	if err != nil {
		b.g.t.Fatal(err)
	}
	form := url.Values{"token": {formToken(secret, devicesPurpose)}, "action": {action}}
	for name, values := range more {
		form[name] = values
	}
	w := b.post("/devices", form)
	return w.Code, w.Header().Get("Location"), w.Body.String()
}

// A password with a code: the code is asked for after the password, and both reach
// the token.
func TestSignInCode(t *testing.T) {
	g := newRig(t, withClasses)
	seed := g.seed("alice")
	authReqID, id := g.ask("alice", "Invoice 4711")
	g.clock.advance(time.Minute)
	b := g.browser()
	page := b.signIn("alice", testPassword)
	if page.Code != http.StatusOK || b.cookies[g.app.cookieName("session")] != "" {
		t.Fatalf("after the password: %d\n%s", page.Code, page.Body)
	}
	ticket := attribute(t, page, `name="ticket" value`)
	form := url.Values{"token": {token(t, page)}, "ticket": {ticket}, "code": {"000000"}}
	w := b.post("/sign-in/code", form)
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "The code is not right") {
		t.Errorf("wrong code: %d\n%s", w.Code, w.Body)
	}
	other := g.browser()
	stolen := url.Values{"token": {token(t, other.get("/sign-in"))}, "ticket": {ticket}, "code": {g.code(seed, 0)}}
	w = other.post("/sign-in/code", stolen)
	if w.Code != http.StatusUnauthorized || other.cookies[g.app.cookieName("session")] != "" {
		t.Errorf("the ticket in another browser: %d", w.Code)
	}
	form.Set("code", g.code(seed, 0))
	w = b.post("/sign-in/code", form)
	if w.Code != http.StatusSeeOther {
		t.Fatalf("right code: %d\n%s", w.Code, w.Body)
	}
	w = b.decide(id, "approve")
	if w.Code != http.StatusSeeOther {
		t.Fatalf("approval: %d\n%s", w.Code, w.Body)
	}
	_, tokens := g.redeem(authReqID)
	if told := claims(t, tokens["id_token"]); told["acr"] != "otp" {
		t.Errorf("acr %v, amr %v", told["acr"], told["amr"])
	}
}

// U14: a code that was used to sign in approves nothing.
func TestApprovalCodeReplayed(t *testing.T) {
	g := newRig(t, withClasses)
	seed := g.seed("alice")
	g.clock.advance(time.Minute)
	b := g.browser()
	page := b.signIn("alice", testPassword)
	code := g.code(seed, 0)
	b.post("/sign-in/code", url.Values{"token": {token(t, page)}, "ticket": {attribute(t, page, `name="ticket" value`)}, "code": {code}})
	g.clock.advance(time.Second)
	_, id := g.ask("alice", "Invoice 4711")
	form := b.decision(id, "approve")
	form.Set("password", testPassword)
	form.Set("code", code)
	w := b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusUnauthorized || g.state("alice", id) != provider.StatePending {
		t.Errorf("used code: %d, %s", w.Code, g.state("alice", id))
	}
	g.clock.advance(30 * time.Second)
	form.Set("code", g.code(seed, 0))
	w = b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StateApproved {
		t.Errorf("new code: %d, %s", w.Code, g.state("alice", id))
	}
}

// U15: after five wrong codes not even the right one is taken, from wherever; the way
// with a passkey stays open.
func TestCodesAreCounted(t *testing.T) {
	g := newRig(t)
	seed, a := g.seed("alice"), g.passkey("alice")
	g.clock.advance(time.Minute)
	try := func(code string) int {
		b := g.browser()
		page := b.signIn("alice", testPassword)
		return b.post("/sign-in/code", url.Values{"token": {token(t, page)}, "ticket": {attribute(t, page, `name="ticket" value`)}, "code": {code}}).Code
	}
	for range codeAttempts {
		if status := try("000000"); status != http.StatusUnauthorized {
			t.Fatalf("wrong code: %d", status)
		}
	}
	if status := try(g.code(seed, 0)); status != http.StatusTooManyRequests {
		t.Errorf("the sixth: %d", status)
	}
	if w := g.browser().signInPasskey(a); w.Code != http.StatusSeeOther {
		t.Errorf("passkey: %d", w.Code)
	}
}

// A recovery code lets in to add a passkey, once, and approves nothing.
func TestRecoverySignIn(t *testing.T) {
	g := newRig(t)
	g.passkey("alice")
	codes, err := g.app.cfg.Factors.NewRecoveryCodes(context.Background(), "sub-alice")
	if err != nil {
		t.Fatal(err)
	}
	_, id := g.ask("alice", "Invoice 4711")
	g.clock.advance(time.Second)
	post := func(b *browser, user, password, code string) int {
		page := b.get("/sign-in/recovery")
		return b.post("/sign-in/recovery", url.Values{"token": {token(t, page)}, "username": {user}, "password": {password}, "code": {code}}).Code
	}
	for name, test := range map[string][3]string{
		"without the password": {"alice", "", codes[0]},
		"a wrong password":     {"alice", "wrong", codes[0]},
		"a wrong code":         {"alice", testPassword, "AAAA-AAAA-AAAA-AAAA"},
		"bob with it":          {"bob", testPassword, codes[0]},
		"nobody":               {"nobody", testPassword, codes[0]},
	} {
		if status := post(g.browser(), test[0], test[1], test[2]); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	b := g.browser()
	if status := post(b, "alice", testPassword, codes[0]); status != http.StatusSeeOther {
		t.Fatalf("right: %d", status)
	}
	if status := post(g.browser(), "alice", testPassword, codes[0]); status != http.StatusUnauthorized {
		t.Errorf("again: %d", status)
	}
	b.decide(id, "approve")
	if g.state("alice", id) != provider.StatePending {
		t.Error("a recovery code has approved something")
	}
	phone := g.authenticator()
	page := b.get("/devices")
	status, _, body := b.act("add-passkey", url.Values{"response": {string(phone.Create([]byte(attribute(t, page, "data-options"))))}, "name": {"New phone"}})
	if status != http.StatusSeeOther {
		t.Errorf("adding a passkey: %d\n%s", status, body)
	}
	// U15: the sixth within the window.
	for range codeAttempts {
		post(g.browser(), "alice", testPassword, "AAAA-AAAA-AAAA-AAAA")
	}
	if status := post(g.browser(), "alice", testPassword, codes[1]); status != http.StatusTooManyRequests {
		t.Errorf("the right one after too many: %d", status)
	}
}

// U24: a passkey is only added soon after a proof, and by the strongest way there is.
func TestFactorsNeedProof(t *testing.T) {
	g := newRig(t)
	a := g.passkey("alice")
	b := g.browser()
	b.signInPasskey(a)
	page := b.get("/devices")
	options := []byte(attribute(t, page, "data-options"))
	g.clock.advance(freshProof + time.Second)
	for action, more := range map[string]url.Values{
		"add-passkey":    {"response": {string(g.authenticator().Create(options))}},
		"remove-passkey": {"id": {"x"}}, "remove-totp": nil,
	} {
		status, _, body := b.act(action, more)
		if status != http.StatusUnauthorized || !strings.Contains(body, "Confirm that it is you") {
			t.Errorf("%s long after the proof: %d", action, status)
		}
	}
	if w := b.get("/devices/totp"); w.Code != http.StatusUnauthorized {
		t.Errorf("setting up an app: %d", w.Code)
	}
	// The password alone is no proof for who has a passkey.
	weak := g.signedIn("alice")
	status, _, _ := weak.act("remove-passkey", url.Values{"id": {"x"}})
	if status != http.StatusUnauthorized {
		t.Errorf("after a password: %d", status)
	}
	w := weak.post("/prove", url.Values{"token": {token(t, weak.get("/prove"))}, "password": {testPassword}})
	if w.Code != http.StatusForbidden {
		t.Errorf("proving with the password: %d", w.Code)
	}
	before := b.cookies[g.app.cookieName("session")]
	page = b.get("/prove?next=/devices")
	w = b.post("/prove", url.Values{"token": {token(t, page)}, "next": {"/devices"}, "response": {string(a.Get([]byte(attribute(t, page, "data-options"))))}})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/devices" || b.cookies[g.app.cookieName("session")] == before {
		t.Errorf("proving with the passkey: %d %s", w.Code, w.Header().Get("Location"))
	}
	if w = b.get("/devices/totp"); w.Code != http.StatusOK {
		t.Errorf("setting up an app after it: %d", w.Code)
	}
}

// Another customer's passkey proves nothing in this session.
func TestProofOfAnother(t *testing.T) {
	g := newRig(t)
	a, bobs := g.passkey("alice"), g.passkey("bob")
	b := g.browser()
	b.signInPasskey(a)
	page := b.get("/prove")
	w := b.post("/prove", url.Values{"token": {token(t, page)}, "response": {string(bobs.Get([]byte(attribute(t, page, "data-options"))))}})
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d", w.Code)
	}
}

// Sessions are listed and ended, one's own only.
func TestSessionsListed(t *testing.T) {
	g := newRig(t)
	b, other, bobs := g.signedIn("alice"), g.signedIn("alice"), g.signedIn("bob")
	all, err := g.app.sessionsOf(context.Background(), "sub-bob")
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	b.act("end-session", url.Values{"id": {all[0].record.ID}})
	if bobs.get("/").Code != http.StatusOK {
		t.Error("alice has ended bob's session")
	}
	status, location, _ := b.act("end-others", nil)
	if status != http.StatusSeeOther || location != "/devices" {
		t.Errorf("ending the others: %d", status)
	}
	if other.get("/").Code != http.StatusSeeOther || b.get("/").Code != http.StatusOK {
		t.Error("the wrong sessions have ended")
	}
	ended, err := g.app.EndSessions(context.Background(), "sub-alice")
	if err != nil || ended != 1 || b.get("/").Code != http.StatusSeeOther {
		t.Errorf("ended %d, %v", ended, err)
	}
}

// Whoever could not sign in any more keeps the last passkey.
func TestLastPasskeyStays(t *testing.T) {
	g := newRig(t, func(pc *provider.Config, c *Config) {
		users, err := provider.NewStaticUsers([]provider.User{{ID: "sub-carl", Username: "carl"}})
		if err != nil {
			t.Fatal(err)
		}
		pc.Users, c.Users = users, users
	})
	a := g.passkey("carl")
	b := g.browser()
	b.signInPasskey(a)
	account, err := g.app.cfg.Factors.Account(context.Background(), "sub-carl")
	if err != nil {
		t.Fatal(err)
	}
	status, _, body := b.act("remove-passkey", url.Values{"id": {account.Passkeys[0].ID}})
	if status != http.StatusConflict || !strings.Contains(body, "the only way") {
		t.Errorf("%d\n%s", status, body)
	}
}

// An enrollment link is opened in one browser and makes one passkey; its secret is
// taken from what is pasted.
func TestEnroll(t *testing.T) {
	g := newRig(t)
	code, _, err := g.app.cfg.Factors.NewLink(context.Background(), "sub-bob", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b, thief := g.browser(), g.browser()
	open := func(b *browser, code string) int {
		return b.post("/enroll", url.Values{"token": {token(t, b.get("/enroll"))}, "code": {code}}).Code
	}
	if status := open(b, "nonsense"); status != http.StatusUnauthorized {
		t.Errorf("nonsense: %d", status)
	}
	if status := open(b, " "+g.app.EnrollURL(code)+" "); status != http.StatusSeeOther {
		t.Fatalf("the link: %d", status)
	}
	if status := open(thief, code); status != http.StatusUnauthorized {
		t.Errorf("in a second browser: %d", status)
	}
	page := b.get("/enroll")
	a := g.authenticator()
	form := url.Values{"token": {token(t, page)}, "response": {string(a.Create([]byte(attribute(t, page, "data-options"))))}}
	w := b.post("/enroll", form)
	if w.Code != http.StatusOK || strings.Count(w.Body.String(), "<li>") != 10 {
		t.Fatalf("the passkey: %d\n%s", w.Code, w.Body)
	}
	if b.get("/").Code != http.StatusOK || g.browser().signInPasskey(a).Code != http.StatusSeeOther {
		t.Error("not signed in by it")
	}
	if status := open(g.browser(), code); status != http.StatusUnauthorized {
		t.Errorf("the link again: %d", status)
	}
}
