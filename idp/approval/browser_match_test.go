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
			b.Scripts(script)
			authReqID, id := b.g.start("alice", url.Values{"match_code": {"07"}, "authorization_details": {payment}})
			b.signIn("/requests/" + id)
			b.Has("Type the number shown on the other screen")
			b.wait()
			b.Click("[data-approve]")
			b.Do(chromedp.Sleep(200 * time.Millisecond))
			b.pendingStill(id, "Approve without a number")
			b.Type("#number", "70")
			b.enter(script)
			b.pendingStill(id, "Enter in the field")
			if !script {
				b.Type("#number", "70") // Enter has loaded the page again
			}
			b.Shoot("match-" + name(script))
			b.wait()
			b.Press("[data-approve]")
			b.Has("You have 2 more tries")
			b.Forgive("422")
			b.Shoot("match-wrong-" + name(script))
			b.Type("#number", "07")
			b.wait()
			b.Press("[data-approve]")
			b.Has("Approved")
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
		b.Type("#number", "70")
		b.wait()
		b.Press("[data-approve]")
		b.Forgive("422")
	}
	b.Has("A wrong number was typed three times")
	if b.g.state("alice", id) != provider.StateDenied {
		t.Errorf("state: %s", b.g.state("alice", id))
	}
}

// "This was not me" with one tap, and the way back.
func TestBrowserReport(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t)
			b.Scripts(script)
			_, id := b.g.match("alice", "07") // the number is not needed for that
			b.signIn("/requests/" + id)
			b.Press(`[value="report"]`)
			b.Has("Reported and blocked")
			b.Shoot("reported-" + name(script))
			b.Press(`a[href="/blocked"]`)
			b.Has("Example Bank")
			b.Shoot("blocked-" + name(script))
			b.Press(`main form button`)
			b.Has("Nobody is blocked")
			b.g.ask("alice", "Sign in at counter 7")
		})
	}
}
