package approval

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// payment are authorization details as a gateway sends them.
const payment = `[{"type":"wire_transfer","amount":"1250.00","currency":"EUR","creditor_name":"Danny Ocean","creditor_iban":"DE89370400440532013000","reference":"Invoice 4711","request_digest":"n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"}]`

// withPayment declares their type.
func withPayment(c *provider.Config, _ *Config) {
	c.DetailsTypes = []provider.DetailsType{{Name: "wire_transfer", DisplayName: "Wire transfer", Fields: []provider.DetailsField{
		{Name: "amount", Kind: provider.DetailAmount, Required: true}, {Name: "currency", Kind: provider.DetailCurrency},
		{Name: "creditor_name"}, {Name: "creditor_iban"}, {Name: "reference"},
	}}}
}

// unlimited lets one client ask one customer as often as a test likes.
func unlimited(c *provider.Config, _ *Config) { c.CoolDown.First, c.Limits.User.Burst = -1, -1 }

// TestScreenshots writes pictures of every page into the folder that
// CIBA_SCREENSHOTS names, for a person to look at.
func TestScreenshots(t *testing.T) {
	if os.Getenv("CIBA_SCREENSHOTS") == "" {
		t.Skip("CIBA_SCREENSHOTS names no folder")
	}
	for _, lang := range languages {
		for _, scheme := range []string{"light", "dark"} {
			for _, size := range []struct {
				name          string
				width, height int64
			}{{"phone", 390, 844}, {"desktop", 1280, 800}} {
				t.Run(lang+"/"+scheme+"/"+size.name, func(t *testing.T) {
					b := newTab(t, withPayment, remembering, unlimited)
					b.Speak(lang)
					b.Media("prefers-color-scheme", scheme)
					b.Viewport(size.width, size.height)
					tour(b, func(page string) { b.Shoot(page + "-" + size.name + "-" + scheme + "-" + lang) })
					b.ForgiveAll() // error pages are errors to the browser
				})
			}
		}
	}
}

// tour goes to every page that a customer can see, and says each time where it is.
func tour(b *tab, shoot func(page string)) {
	b.open("/")
	shoot("signin")
	b.Type("#username", "alice")
	b.Type("#password", "wrong")
	b.Press(".primary")
	shoot("signin-wrong")
	b.open("/sign-in/recovery")
	shoot("recovery")
	_, early := b.g.pay("alice", "Wire to D. Ocean, invoice 4711")
	b.signIn("/")
	b.wait()
	shoot("list-one")
	b.open("/requests/" + early)
	b.wait()
	shoot("request")
	_, other := b.g.ask("alice", "Sign in at counter 7, code K7-QX")
	b.open("/")
	shoot("list-two")
	b.open("/requests/" + other)
	b.wait()
	shoot("request-password-two")
	b.Press("[data-approve]")
	b.Type("#password", "wrong")
	b.wait()
	b.Press("[data-approve]")
	b.Type("#password", "secret")
	shoot("confirm-wrong")
	b.Press(".danger")
	shoot("denied")
	b.open("/requests/" + early)
	b.wait()
	b.Press("[data-approve]")
	shoot("approved")
	b.open("/")
	shoot("list-empty")
	b.open("/requests/unknown")
	shoot("problem")
	_, odd := b.g.ask("alice", strings.Repeat("Pаypal transfer with a long text. ", 3)+"Thank you")
	b.open("/requests/" + odd)
	b.wait()
	shoot("request-odd-long")
	_, late := b.g.ask("alice", "")
	b.open("/requests/" + late)
	b.wait()
	shoot("request-plain")
	_, numbered := b.g.start("alice", url.Values{"match_code": {"07"}, "authorization_details": {payment}})
	b.open("/requests/" + numbered)
	b.Type("#number", "70")
	b.wait()
	shoot("request-number")
	b.Press("[data-approve]")
	b.Type("#password", testPassword)
	b.wait()
	b.Press("[data-approve]")
	b.wait()
	shoot("request-number-wrong")
	b.open("/blocked")
	shoot("blocked-empty")
	b.open("/requests/" + numbered)
	b.Press(`[value="report"]`)
	shoot("reported")
	b.open("/blocked")
	shoot("blocked")
	b.open("/history")
	b.wait()
	shoot("history")
	b.open("/devices")
	shoot("devices")
	b.open("/prove")
	shoot("prove")
	b.open("/devices/totp")
	shoot("totp")
	if b.g.app.cfg.Push != nil {
		b.open("/notifications")
		b.installed()
		shoot("notifications")
	}
	b.open("/offline")
	shoot("offline")
}
