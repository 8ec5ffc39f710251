package approval

import (
	"testing"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
	"github.com/caddyciba/gateway/idp/provider"
)

// Names that are written from right to left stay in their places: they neither turn the
// amount about nor what we write ourselves.
func TestBrowserRightToLeft(t *testing.T) {
	b := newTab(t, withPayment, func(c *provider.Config, _ *Config) { c.Clients[0].Name = "בנק לדוגמה 12" })
	_, id := b.g.start("alice", map[string][]string{
		"binding_message":       {"תשלום חשבונית 4711, 12 מתוך 20"},
		"authorization_details": {`[{"type":"wire_transfer","amount":"1250.00","currency":"EUR","creditor_name":"שלום 100 כהן","creditor_iban":"DE89370400440532013000","reference":"مرجع 4711"}]`},
	})
	b.signIn("/requests/" + id)
	b.Has("wants your approval")
	b.wait()
	b.Shoot("right-to-left")
	wrong := browsertest.Eval[[]string](b.Page, `(() => {
		const wrong = [], box = s => document.querySelector(s).getBoundingClientRect();
		if (box(".hero-amount .figure").right > box(".hero-amount .currency").left) wrong.push("the currency is not behind the amount");
		if (box(".hero-label").right > box(".payee").left) wrong.push("the label is not before the payee");
		for (const e of document.querySelectorAll("bdi")) if (getComputedStyle(e).unicodeBidi !== "isolate") wrong.push("not isolated: " + e.textContent);
		if (document.documentElement.scrollWidth > innerWidth) wrong.push("wider than the screen");
		return wrong;
	})()`)
	if len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

// With forced colors, what can be pressed still has an edge, and the way that approves
// looks other than the one that denies.
func TestBrowserForcedColors(t *testing.T) {
	b := newTab(t, withPayment)
	b.Media("forced-colors", "active")
	_, id := b.g.start("alice", map[string][]string{"match_code": {"07"}, "authorization_details": {payment}})
	b.signIn("/requests/" + id)
	b.wait()
	b.Shoot("forced-colors")
	wrong := browsertest.Eval[[]string](b.Page, `(() => {
		const wrong = [], style = s => getComputedStyle(document.querySelector(s));
		for (const s of ["[data-approve]", ".danger", ".digits span", ".monogram"]) {
			const c = style(s);
			if (parseFloat(c.borderTopWidth) < 1 || c.borderTopStyle === "none" || c.borderTopColor === "rgba(0, 0, 0, 0)") wrong.push(s + " has no edge");
			if (c.color === c.backgroundColor) wrong.push(s + " cannot be read");
		}
		if (style("[data-approve]").backgroundColor === style(".danger").backgroundColor) wrong.push("Approve and Deny look the same");
		return wrong;
	})()`)
	if len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

// Whoever wants no motion gets none, but the guard against taps in the first moments
// stays.
func TestBrowserReducedMotion(t *testing.T) {
	b := newTab(t)
	b.Media("prefers-reduced-motion", "reduce")
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.signIn("/")
	b.open("/requests/" + id)
	b.tapAtOnce()
	b.pendingStill(id, "a tap at once")
	moving := browsertest.Eval[[]string](b.Page,
		`document.getAnimations().map(a => a.animationName).filter(name => name !== "arm")`)
	if len(moving) > 0 {
		t.Errorf("still moving: %q", moving)
	}
}

// Without JavaScript every page can be reached and says something, and every decision
// comes to its end.
func TestBrowserWithoutScript(t *testing.T) {
	b := newTab(t, withPayment, remembering, unlimited)
	b.Scripts(false)
	tour(b, func(page string) {
		said := browsertest.Eval[string](b.Page, `document.querySelector("main h1").innerText`)
		if said == "" {
			t.Errorf("%s says %q", page, said)
		}
	})
	b.open("/history")
	for _, state := range []string{"Approved", "Denied", "Reported"} {
		b.Has(state)
	}
	b.ForgiveAll() // error pages are errors to the browser
}
