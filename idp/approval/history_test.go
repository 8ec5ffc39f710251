package approval

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/caddyciba/gateway/idp/provider"
)

// remembering keeps a history.
func remembering(c *provider.Config, _ *Config) { c.History = 90 * 24 * time.Hour }

// The history shows what was asked and what became of it, the newest first, page by
// page, to nobody else, and each entry leads to all that was shown.
func TestHistory(t *testing.T) {
	g := newRig(t, withPayment, remembering, unlimited)
	b := g.signedIn("alice")
	var last string
	for i := range 23 {
		g.clock.advance(time.Second)
		_, id := g.pay("alice", fmt.Sprintf("Invoice number %02d", i))
		b.decide(id, []string{"deny", "report"}[i/22])
		last = id
	}
	b.post("/blocked", map[string][]string{"blocked": {"bank"}, "token": {token(t, b.get("/blocked"))}})
	_, waiting := g.ask("alice", "Still waiting")

	first := b.get("/history")
	items := historyOf(t, first.Body.String())
	if len(items) != 21 || !strings.HasPrefix(items[0], "Waiting") || !strings.Contains(items[0], "Still waiting") ||
		!strings.HasPrefix(items[1], "Reported") || !strings.Contains(items[1], "1,250.00 EUR to Danny Ocean") || !strings.HasPrefix(items[2], "Denied") {
		t.Errorf("%d items: %q", len(items), items)
	}
	for _, id := range []string{waiting, last} {
		if !strings.Contains(first.Body.String(), `href="/requests/`+id+`"`) {
			t.Errorf("no way to %s", id)
		}
	}
	_, rest, _ := strings.Cut(first.Body.String(), `<a href="/history?before=`)
	cursor, _, _ := strings.Cut(rest, `"`)
	second := b.get("/history?before=" + cursor)
	items = historyOf(t, second.Body.String())
	if len(items) != 3 || strings.Contains(second.Body.String(), "/history?") || !strings.Contains(second.Body.String(), "Back to the newest") {
		t.Errorf("second page: %q", items)
	}
	if body := b.get("/requests/" + last).Body.String(); !strings.Contains(body, "Invoice number 22") || !strings.Contains(body, "DE89 3704") {
		t.Errorf("an entry does not lead to what was shown:\n%s", body)
	}
	if code := b.get("/history?before=nonsense").Code; code != http.StatusNotFound {
		t.Errorf("a cursor that is none: %d", code)
	}
	bob := g.signedIn("bob")
	for _, path := range []string{"/history", "/history?before=" + cursor} {
		if body := bob.get(path).Body.String(); len(historyOf(t, body)) != 0 || strings.Contains(body, "Invoice") {
			t.Errorf("bob sees on %s:\n%s", path, body)
		}
	}
	w := g.browser().get("/history")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/sign-in?next=%2Fhistory" {
		t.Errorf("without a session: %d %s", w.Code, w.Header().Get("Location"))
	}
}

// historyOf returns the text of each entry.
func historyOf(t *testing.T, body string) []string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var items []string
	for n := range doc.Descendants() {
		if n.Data == "a" {
			for _, a := range n.Attr {
				if a.Key == "class" && a.Val == "card" {
					items = append(items, strings.Join(strings.Fields(visibleText(n)), " "))
				}
			}
		}
	}
	return items
}
