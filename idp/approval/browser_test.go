package approval

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/idp/provider"
)

// The whole way of a customer, with and without JavaScript: sign in from a link
// to a request, see it in the list, untick a permission, approve. The token then
// carries what was left ticked.
func TestBrowserApprove(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t, withPayment)
			b.script(script)
			authReqID, id := b.g.pay("alice", "Wire to D. Ocean, invoice 4711")
			b.signIn("/requests/" + id)
			b.has("wants your approval")
			b.open("/")
			b.has("One request waits for you")
			b.press("a.card")
			b.has("1,250.00 EUR")
			b.wait()
			b.do(chromedp.Click(chromedp.CSS(`input[value="profile"]`)))
			b.press("[data-approve]")
			b.has("Approved")
			status, tokens := b.g.redeem(authReqID)
			if status != http.StatusOK || tokens["scope"] != "openid "+testScope {
				t.Errorf("tokens: %d, %v", status, tokens["scope"])
			}
		})
	}
}

func name(script bool) string {
	if script {
		return "with JavaScript"
	}
	return "without JavaScript"
}

// script switches JavaScript of the pages on or off. What the tests evaluate
// themselves goes on working.
func (b *tab) script(on bool) {
	b.t.Helper()
	b.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}))
}

func TestBrowserDeny(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t)
			b.script(script)
			authReqID, id := b.g.ask("alice", "Sign in at counter 7")
			b.signIn("/requests/" + id)
			b.has("Sign in at counter 7")
			b.press(".danger")
			b.has("You denied this")
			status, answer := b.g.redeem(authReqID)
			if status != http.StatusBadRequest || answer["error"] != "access_denied" {
				t.Errorf("token endpoint: %d %v", status, answer)
			}
		})
	}
}

// At zero the buttons go and the page says what happened, also without
// JavaScript.
func TestBrowserExpiry(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t)
			b.script(script)
			_, id := b.g.ask("alice", "Sign in at counter 7")
			b.signIn("/")
			b.g.clock.advance(118 * time.Second)
			b.open("/requests/" + id)
			b.has("left")
			b.has("Time is up")
			if b.g.state("alice", id) != provider.StateExpired {
				t.Errorf("state: %s", b.g.state("alice", id))
			}
		})
	}
}

// Who signed in before the request came types the password after reading it.
func TestBrowserPassword(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t)
			b.script(script)
			b.signIn("/")
			b.g.clock.advance(time.Minute)
			_, id := b.g.ask("alice", "Sign in at counter 7")
			b.open("/requests/" + id)
			b.wait()
			b.do(chromedp.Click(chromedp.CSS(`input[value="profile"]`)))
			b.press("[data-approve]")
			b.has("Confirm with your password")
			if strings.Contains(b.text(), "Your profile") {
				t.Error("the confirmation names what was unticked")
			}
			b.do(typeInto("password", testPassword))
			b.wait()
			b.press("[data-approve]")
			b.has("Approved")
		})
	}
}

// interface.md, rule 4: Enter approves nowhere, and neither does a tap in the
// first moments.
func TestBrowserNoAccidentalApproval(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t)
			b.script(script)
			_, id := b.g.ask("alice", "Sign in at counter 7")
			b.signIn("/")

			b.open("/requests/" + id)
			x, y := b.center("[data-approve]")
			b.do(chromedp.MouseClickXY(x, y), chromedp.Sleep(300*time.Millisecond))
			b.pendingStill(id, "a tap at once")

			b.wait()
			focused, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.activeElement.tagName"))
			if err != nil || focused == "BUTTON" {
				t.Errorf("focus at load: %s, %v", focused, err)
			}
			b.do(enter(), chromedp.Focus(chromedp.CSS(`input[value="profile"]`)), enter(), chromedp.Sleep(300*time.Millisecond))
			b.pendingStill(id, "Enter on a tick")
			if script {
				b.do(chromedp.Focus(chromedp.CSS("[data-approve]")), enter(), chromedp.Sleep(300*time.Millisecond))
				b.pendingStill(id, "Enter on Approve")
			}

			// The space bar is how a keyboard presses a button.
			b.do(chromedp.Focus(chromedp.CSS("[data-approve]")))
			_, err = chromedp.RunResponse(b.ctx, chromedp.KeyEvent(" "))
			if err != nil {
				t.Fatal(err)
			}
			b.has("Approved")
		})
	}
}

func (b *tab) pendingStill(id, what string) {
	b.t.Helper()
	if b.g.state("alice", id) != provider.StatePending {
		b.t.Fatalf("%s: the request is %s", what, b.g.state("alice", id))
	}
}

// enter presses the Enter key, in the way that submits forms.
func enter() chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		for _, p := range []input.DispatchKeyEventParams{
			{Type: input.DispatchKeyEventTypeKeyDown, Key: "Enter", Code: "Enter", Text: "\r", WindowsVirtualKeyCode: 13},
			{Type: input.DispatchKeyEventTypeKeyUp, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13},
		} {
			_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, p)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// center returns the middle of an element in the viewport.
func (b *tab) center(selector string) (x, y float64) {
	b.t.Helper()
	at, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](
		`(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector('`+selector+`').getBoundingClientRect())`))
	if err != nil {
		b.t.Fatal(err)
	}
	return at[0], at[1]
}

// interface.md, rule 1: on a phone all that decides is in view without
// scrolling, nothing is wider than the screen, and what is touched is big enough.
func TestBrowserFitsThePhone(t *testing.T) {
	for _, lang := range languages {
		t.Run(lang, func(t *testing.T) {
			b := newTab(t, withPayment)
			b.do(speak(lang))
			_, id := b.g.pay("alice", "Wire to D. Ocean, invoice 4711")
			b.signIn("/requests/" + id)
			b.wait()
			missing, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`
				[".who-name", ".hero-amount", ".payee", ".account", "dd.fence", "[data-words]", "[data-approve]", ".danger"].filter(s => {
					const e = document.querySelector(s), r = e && e.getBoundingClientRect();
					const hit = r && document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2);
					return !r || r.top < 0 || r.bottom > 844 || r.left < 0 || r.right > 390 || !(e.contains(hit) || hit.contains(e));
				})`))
			if err != nil || len(missing) > 0 {
				t.Errorf("not in view: %v, %v", missing, err)
			}
			for _, width := range []int64{390, 320} {
				b.do(b.viewport(width, 844))
				wide, err := chromedp.Run(b.ctx, chromedp.Evaluate[int]("document.documentElement.scrollWidth"))
				if err != nil || int64(wide) > width {
					b.shoot("too-wide-" + lang)
					t.Errorf("%d wide at %d, %v", wide, width, err)
				}
			}
			low, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](
				`Array.from(document.querySelectorAll(".button"), e => e.getBoundingClientRect().height).filter(h => h < 52)`))
			if err != nil || len(low) > 0 {
				t.Errorf("buttons of %v, %v", low, err)
			}
			sizes, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](
				`[".figure", ".payee", ".who-name"].map(s => parseFloat(getComputedStyle(document.querySelector(s)).fontSize))`))
			if err != nil || sizes[0] <= sizes[1] || sizes[1] <= sizes[2] {
				t.Errorf("amount, payee and client in sizes %v, %v", sizes, err)
			}
		})
	}
}

// The list renews itself while it is open, and none opens by itself.
func TestBrowserLiveList(t *testing.T) {
	b := newTab(t)
	b.signIn("/")
	b.has("Nothing to approve")
	b.g.ask("alice", "Sign in at counter 7")
	b.has("One request waits for you")
	b.g.ask("alice", "Sign in at counter 8")
	b.has("Several requests wait at once")
	at, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil || at != b.url+"/" {
		t.Errorf("at %s, %v", at, err)
	}
}

// T18: payloads in all texts at once, in a real browser: nothing runs, nothing
// is loaded, no policy is violated (which newTab watches for).
func TestBrowserPayloads(t *testing.T) {
	text := strings.Join(lines(t, "testdata/xss.txt"), " ")
	b := newTab(t)
	now := b.g.clock.Now()
	b.g.app.cfg.Provider = fixed{requests: everyRequest(now, text)}
	b.signIn("/")
	for _, path := range []string{
		"/", "/requests/r0", "/requests/r1", "/requests/r2", "/requests/r4", "/requests/r8", "/requests/r9", "/requests/r10", "/requests/r11", "/history", "/blocked",
	} {
		b.open(path)
		ran, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("'xss' in window || document.querySelectorAll('script').length !== 1"))
		if err != nil || ran {
			t.Errorf("%s: %v, %v", path, ran, err)
		}
	}
}

// U10: no page can be framed, and a form of another site is refused. Both are
// tried from a real other origin.
func TestBrowserForeignSite(t *testing.T) {
	b := newTab(t)
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.signIn("/")
	foreign := serve(t, `<!doctype html><title>evil</title><iframe src="`+b.url+`/requests/`+id+`"></iframe>
<form method="post" action="`+b.url+`/requests/`+id+`/decision"><input name="decision" value="approve"><input name="token" value="x"><button>x</button></form>`)
	b.do(chromedp.Navigate(foreign), chromedp.Sleep(300*time.Millisecond))
	framed, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](
		`(() => { try { return document.querySelector("iframe").contentDocument !== null } catch { return false } })()`))
	if err != nil || framed {
		t.Errorf("framed: %v, %v", framed, err)
	}
	b.forgive("frame-ancestors", "X-Frame-Options", "Refused to", "refused to", "chrome-error")
	b.press("button")
	b.has("This could not be accepted")
	b.forgive("403")
	b.pendingStill(id, "form of another site")
}

// What is decided on another device, or withdrawn, says so where it is open.
func TestBrowserDecidedElsewhere(t *testing.T) {
	b := newTab(t)
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.signIn("/requests/" + id)
	b.has("wants your approval")
	err := b.g.provider.Deny(context.Background(), "sub-alice", id)
	if err != nil {
		t.Fatal(err)
	}
	b.has("You denied this")
}

// U06: a double click is one decision, and its answer is what is seen.
func TestBrowserDoubleClick(t *testing.T) {
	b := newTab(t)
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.signIn("/requests/" + id)
	b.wait()
	_, err := chromedp.RunResponse(b.ctx, chromedp.DoubleClick(chromedp.CSS("[data-approve]")))
	if err != nil {
		t.Fatal(err)
	}
	b.has("Approved")
	if strings.Contains(b.text(), "already") {
		t.Errorf("the second click was sent:\n%s", b.text())
	}
}
