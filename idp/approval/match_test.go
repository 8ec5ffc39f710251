package approval

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// match starts a request with a number to type.
func (g *rig) match(user, number string) (authReqID, id string) {
	g.t.Helper()
	return g.start(user, url.Values{"match_code": {number}})
}

// U08: three wrong numbers deny; what is not a number of two digits is no try, and is
// said at once, before a password is asked for.
func TestNumberMatching(t *testing.T) {
	g := newRig(t)
	authReqID, id := g.match("alice", "37")
	b := g.signedIn("alice")
	page := b.get("/requests/" + id).Body.String()
	if strings.Contains(page, "37<") || strings.Contains(page, `"37"`) || !strings.Contains(page, `name="number"`) {
		t.Errorf("the page shows the number, or no field for it:\n%s", page)
	}
	for _, typed := range []string{"", "7", " 37", "037.0", "٣٧١", "٣٧", "３７", strings.Repeat("3", 10<<10)} {
		form := b.decision(id, "approve", "profile")
		form.Set("number", typed)
		w := b.post("/requests/"+id+"/decision", form)
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "two digits") {
			t.Errorf("%.12q: %d", typed, w.Code)
		}
	}
	for i, says := range []string{"2 more tries", "one more try", "typed three times"} {
		form := b.decision(id, "approve")
		form.Set("number", "73")
		w := b.post("/requests/"+id+"/decision", form)
		body := w.Body.String()
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(body, says) {
			t.Errorf("try %d: %d, want %q:\n%s", i, w.Code, says, body)
		}
		if i == 0 && strings.Contains(body, `value="profile" id="scope-2" checked`) {
			t.Error("a permission that was unticked is ticked again")
		}
	}
	if g.state("alice", id) != provider.StateDenied {
		t.Errorf("state: %s", g.state("alice", id))
	}
	status, answer := g.redeem(authReqID)
	if status != http.StatusBadRequest || answer["error"] != "access_denied" {
		t.Errorf("token endpoint: %d %v", status, answer)
	}
}

// The right number approves, also when the password comes on the next page.
func TestNumberIsCarriedToThePassword(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	g.clock.advance(time.Second)
	_, id := g.match("alice", "07")
	form := b.decision(id, "approve")
	form.Set("number", "07")
	w := b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `name="number" value="07"`) {
		t.Fatalf("%d:\n%s", w.Code, w.Body)
	}
	form.Set("password", testPassword)
	w = b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StateApproved {
		t.Errorf("%d, %s", w.Code, g.state("alice", id))
	}
}

// "This was not me" denies, blocks, says so, and can be undone.
func TestReport(t *testing.T) {
	g := newRig(t)
	authReqID, id := g.ask("alice", "Sign in at counter 7")
	_, other := g.ask("alice", "Sign in at counter 8")
	b := g.signedIn("alice")
	w := b.decide(id, "report")
	if w.Code != http.StatusSeeOther {
		t.Fatalf("report: %d", w.Code)
	}
	body := b.get("/requests/" + id).Body.String()
	if !strings.Contains(body, "Reported and blocked") || !strings.Contains(body, `href="/blocked"`) || strings.Contains(body, `value="report"`) {
		t.Errorf("the page does not say what was blocked and how to undo it:\n%s", body)
	}
	if g.state("alice", other) != provider.StateDenied {
		t.Errorf("the other request of the same client is %s", g.state("alice", other))
	}
	status, answer := g.redeem(authReqID)
	if status != http.StatusBadRequest || answer["error"] != "access_denied" {
		t.Errorf("token endpoint: %d %v", status, answer)
	}
	w = b.get("/blocked")
	if !strings.Contains(w.Body.String(), "Example Bank") {
		t.Fatalf("the blocked are not listed:\n%s", w.Body)
	}
	form := url.Values{"blocked": {"bank"}, "token": {token(t, w)}}
	bob := g.signedIn("bob")
	for name, refused := range map[string]url.Values{
		"no token":     {"blocked": {"bank"}},
		"another name": {"blocked": {"shop"}, "token": form["token"]},
	} {
		if code := b.post("/blocked", refused).Code; code != http.StatusForbidden {
			t.Errorf("%s: %d", name, code)
		}
	}
	if code := bob.post("/blocked", form).Code; code != http.StatusForbidden {
		t.Errorf("the form of another session: %d", code)
	}
	for range 2 { // a second time there is nothing left to do
		w = b.post("/blocked", form)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/blocked" {
			t.Errorf("lifting: %d", w.Code)
		}
	}
	if body := b.get("/blocked").Body.String(); !strings.Contains(body, "Nobody is blocked") {
		t.Errorf("still blocked:\n%s", body)
	}
	g.ask("alice", "Sign in at counter 9")
}

// What was approved or denied before can be reported on the page that says so.
func TestReportAfterwards(t *testing.T) {
	for _, first := range []string{"approve", "deny"} {
		g := newRig(t)
		authReqID, id := g.ask("alice", "")
		b := g.signedIn("alice")
		b.decide(id, first)
		w := b.decide(id, "report")
		if w.Code != http.StatusSeeOther {
			t.Fatalf("%s: %d", first, w.Code)
		}
		says := "Nothing was approved"
		if first == "approve" {
			says = "The approval was taken back"
		}
		if body := b.get("/requests/" + id).Body.String(); !strings.Contains(body, says) {
			t.Errorf("%s: no %q:\n%s", first, says, body)
		}
		status, _ := g.redeem(authReqID)
		if status != http.StatusBadRequest {
			t.Errorf("%s: token endpoint %d", first, status)
		}
	}
}
