package approval

import (
	"testing"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
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
		b.Has("Elsewhere")
		b.Type("#name", "alice")
		b.Press("#in")
	}
	b.open("/history")
	b.Has("Continue with Example Bank login")
	b.Shoot("signin-elsewhere")
	b.Press(`a[href^="/sign-in/with/"]`)
	there()
	b.Has("Nothing yet")
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.open("/requests/" + id)
	b.wait()
	b.Shoot("request-elsewhere")
	b.Press("[data-approve]")
	b.Has("Confirm that it is you")
	b.Shoot("confirm-elsewhere")
	b.Press(`a[href^="/prove/with/"]`)
	there()
	b.Has("Sign in at counter 7")
	b.wait()
	b.Press("[data-approve]")
	b.Has("Approved")
	if state := b.g.state("alice", id); state != provider.StateApproved {
		t.Errorf("the request is %s", state)
	}
	where := browsertest.Eval[string](b.Page, "location.search")
	if where != "" {
		t.Errorf("the address still has %q", where)
	}
}
