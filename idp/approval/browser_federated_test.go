package approval

import (
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/idp/approval/federation/federationtest"
	"github.com/caddyciba/gateway/idp/provider"
)

// A customer without a password signs in at another provider, in a real browser: the
// cookies survive the way there and back, under the policies of the pages. She
// approves after a new proof over there.
func TestBrowserSignInElsewhere(t *testing.T) {
	other := federationtest.New(t)
	b := newTab(t, func(pc *provider.Config, c *Config) {
		withElsewhere(t, other, c)
		other.Expect(FederationCallback(c.PublicURL, "bank"))
		var err error
		c.Users, err = provider.NewStaticUsers([]provider.User{{ID: "sub-alice", Username: "alice", Name: "Alice Liddell"}})
		if err != nil {
			t.Fatal(err)
		}
		pc.Users = c.Users
	})
	there := func() {
		b.has("Elsewhere")
		b.do(typeInto("name", "alice"))
		b.press("#in")
	}
	b.open("/history")
	b.has("Continue with Example Bank login")
	b.shoot("signin-elsewhere")
	b.press(`a[href^="/sign-in/with/"]`)
	there()
	b.has("Nothing yet")
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.open("/requests/" + id)
	b.wait()
	b.shoot("request-elsewhere")
	b.press("[data-approve]")
	b.has("Confirm that it is you")
	b.shoot("confirm-elsewhere")
	b.press(`a[href^="/prove/with/"]`)
	there()
	b.has("Sign in at counter 7")
	b.wait()
	b.press("[data-approve]")
	b.has("Approved")
	if state := b.g.state("alice", id); state != provider.StateApproved {
		t.Errorf("the request is %s", state)
	}
	where, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.search"))
	if err != nil || where != "" {
		t.Errorf("the address still has %q, %v", where, err)
	}
}
