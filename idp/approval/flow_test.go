package approval

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestFlow(t *testing.T) {
	g := newRig(t)
	authReqID, id := g.ask("alice", "Wire 1250 EUR to D. Ocean, invoice 4711")
	b := g.browser()

	w := b.get("/requests/" + id)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/sign-in?next=%2Frequests%2F"+id {
		t.Fatalf("page without session: %d %s", w.Code, w.Header().Get("Location"))
	}
	w = b.signIn("alice", testPassword)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Fatalf("sign-in: %d %s", w.Code, w.Header().Get("Location"))
	}
	w = b.get("/")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "/requests/"+id) {
		t.Fatalf("list: %d\n%s", w.Code, w.Body)
	}
	g.clock.advance(30 * time.Second)
	w = b.get("/requests/" + id)
	for _, want := range []string{"Example Bank", "Wire 1250 EUR to D. Ocean, invoice 4711", "1 min 30 s", "Make this transfer", "Your profile"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page does not say %q:\n%s", want, w.Body)
		}
	}
	w = b.decide(id, "approve")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/requests/"+id {
		t.Fatalf("approve: %d %s\n%s", w.Code, w.Header().Get("Location"), w.Body)
	}
	w = b.get("/requests/" + id)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<h1 class=\"title\">Approved</h1>") {
		t.Fatalf("end: %d\n%s", w.Code, w.Body)
	}
	if body := w.Body.String(); !strings.Contains(body, "Make this transfer") || strings.Contains(body, "Your profile") {
		t.Errorf("the end does not say what was granted:\n%s", body)
	}
	status, tokens := g.redeem(authReqID)
	if status != http.StatusOK || tokens["scope"] != "openid "+testScope {
		t.Fatalf("tokens: %d %v", status, tokens)
	}
}
