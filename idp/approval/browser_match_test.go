package approval

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/idp/provider"
)

// Number matching: a wrong number leaves the request as it is, the right one
// approves. Enter in the field does neither.
func TestBrowserNumberMatching(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t, withPayment)
			b.script(script)
			authReqID, id := b.g.start("alice", url.Values{"match_code": {"07"}, "authorization_details": {payment}})
			b.signIn("/requests/" + id)
			b.has("Type the number shown on the other screen")
			b.wait()
			b.do(chromedp.Click(chromedp.CSS("[data-approve]")), chromedp.Sleep(200*time.Millisecond))
			b.pendingStill(id, "Approve without a number")
			b.do(typeInto("number", "70"), enter(), chromedp.Sleep(200*time.Millisecond))
			b.pendingStill(id, "Enter in the field")
			if !script {
				b.do(typeInto("number", "70")) // Enter has loaded the page again
			}
			b.shoot("match-" + name(script))
			b.wait()
			b.press("[data-approve]")
			b.has("You have 2 more tries")
			b.forgive("422")
			b.shoot("match-wrong-" + name(script))
			b.do(typeInto("number", "07"))
			b.wait()
			b.press("[data-approve]")
			b.has("Approved")
			status, _ := b.g.redeem(authReqID)
			if status != http.StatusOK {
				t.Errorf("token endpoint: %d", status)
			}
		})
	}
}

func TestBrowserNumberThreeTimesWrong(t *testing.T) {
	b := newTab(t)
	_, id := b.g.match("alice", "07")
	b.signIn("/requests/" + id)
	for range 3 {
		b.do(typeInto("number", "70"))
		b.wait()
		b.press("[data-approve]")
		b.forgive("422")
	}
	b.has("A wrong number was typed three times")
	if b.g.state("alice", id) != provider.StateDenied {
		t.Errorf("state: %s", b.g.state("alice", id))
	}
}

// "This was not me" with one tap, and the way back.
func TestBrowserReport(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t)
			b.script(script)
			_, id := b.g.match("alice", "07") // the number is not needed for that
			b.signIn("/requests/" + id)
			b.press(`[value="report"]`)
			b.has("Reported and blocked")
			b.shoot("reported-" + name(script))
			b.press(`a[href="/blocked"]`)
			b.has("Example Bank")
			b.shoot("blocked-" + name(script))
			b.press(`main form button`)
			b.has("Nobody is blocked")
			b.g.ask("alice", "Sign in at counter 7")
		})
	}
}
