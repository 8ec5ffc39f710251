package approval

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// enterCode sends the code of the authenticator app after the password.
func (b *tab) enterCode(code string) {
	b.t.Helper()
	b.Type("#code", code)
	b.Press(".primary")
}

// Password and code in a real browser: a code that was used is refused, to sign in and
// to approve, and the next one counts (threats U14).
func TestBrowserTOTP(t *testing.T) {
	b := newTab(t, withClasses)
	seed := b.g.seed("alice")
	b.g.clock.advance(time.Minute)
	used := b.g.code(seed, 0)
	b.signIn("/sign-in")
	b.enterCode(used)
	b.Has("Nothing to approve")

	b.Press(".who-am-i button")
	b.Has("Sign in")
	b.signIn("/sign-in")
	b.enterCode(used)
	b.Has("The code is not right")
	b.Forgive("401")
	b.g.clock.advance(30 * time.Second)
	used = b.g.code(seed, 0)
	b.enterCode(used)
	b.Has("Nothing to approve")

	b.g.clock.advance(time.Second)
	authReqID, id := b.g.ask("alice", "Invoice 4711")
	b.open("/requests/" + id)
	b.wait()
	b.Press(".approve, .primary")
	b.confirmWith(used)
	b.Has("not right")
	b.Forgive("401")
	if b.g.state("alice", id) != provider.StatePending {
		t.Fatalf("a used code has made it %s", b.g.state("alice", id))
	}
	b.g.clock.advance(30 * time.Second)
	b.confirmWith(b.g.code(seed, 0))
	b.Has("Approved")
	status, tokens := b.g.redeem(authReqID)
	if status != http.StatusOK {
		t.Fatalf("tokens: %d, %v", status, tokens)
	}
	if told := claims(t, tokens["id_token"]); told["acr"] != "otp" {
		t.Errorf("acr %v, amr %v", told["acr"], told["amr"])
	}
}

// confirmWith approves by password and code.
func (b *tab) confirmWith(code string) {
	b.t.Helper()
	b.wait()
	b.Type("#password", testPassword)
	b.Type("#code", code)
	b.Press(".primary")
}
