package approval

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
	"github.com/caddyciba/gateway/idp/provider"
)

// The whole way of a customer, with and without JavaScript: sign in from a link
// to a request, see it in the list, untick a permission, approve. The token then
// carries what was left ticked.
func TestBrowserApprove(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t, withPayment)
			b.Scripts(script)
			authReqID, id := b.g.pay("alice", "Wire to D. Ocean, invoice 4711")
			b.signIn("/requests/" + id)
			b.Has("wants your approval")
			b.open("/")
			b.Has("One request waits for you")
			b.Press("a.card")
			b.Has("1,250.00 EUR")
			b.wait()
			b.Click(`input[value="profile"]`)
			b.Press("[data-approve]")
			b.Has("Approved")
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

func TestBrowserDeny(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t)
			b.Scripts(script)
			authReqID, id := b.g.ask("alice", "Sign in at counter 7")
			b.signIn("/requests/" + id)
			b.Has("Sign in at counter 7")
			b.Press(".danger")
			b.Has("You denied this")
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
			b.Scripts(script)
			var id string
			b.signIn("/")
			// The page counts in real time. If it was slow to come, the time of the first
			// request was over already, and the next one leaves more.
			for _, left := range []time.Duration{2, 5, 10, 40} {
				_, id = b.g.ask("alice", "Sign in at counter 7")
				b.g.clock.advance((120 - left) * time.Second)
				b.open("/requests/" + id)
				if strings.Contains(b.Text(), "left") {
					break
				}
			}
			b.Has("Time is up")
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
			b.Scripts(script)
			b.signIn("/")
			b.g.clock.advance(time.Minute)
			_, id := b.g.ask("alice", "Sign in at counter 7")
			b.open("/requests/" + id)
			b.wait()
			b.Click(`input[value="profile"]`)
			b.Press("[data-approve]")
			b.Has("Confirm with your password")
			if strings.Contains(b.Text(), "Your profile") {
				t.Error("the confirmation names what was unticked")
			}
			b.Type("#password", testPassword)
			b.wait()
			b.Press("[data-approve]")
			b.Has("Approved")
		})
	}
}

// interface.md, rule 4: Enter approves nowhere, and neither does a tap in the
// first moments.
func TestBrowserNoAccidentalApproval(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(name(script), func(t *testing.T) {
			b := newTab(t)
			b.Scripts(script)
			_, id := b.g.ask("alice", "Sign in at counter 7")
			b.signIn("/")

			b.open("/requests/" + id)
			b.tapAtOnce()
			b.pendingStill(id, "a tap at once")

			b.open("/requests/" + id)
			b.wait()
			focused := browsertest.Eval[string](b.Page, "document.activeElement.tagName")
			if focused == "BUTTON" {
				t.Errorf("focus at load: %s", focused)
			}
			b.enter(true)
			b.Focus(`input[value="profile"]`)
			b.enter(script)
			b.pendingStill(id, "Enter on a tick")
			if script {
				b.Focus("[data-approve]")
				b.enter(true)
				b.pendingStill(id, "Enter on Approve")
			}

			// The space bar is how a keyboard presses a button.
			b.Focus("[data-approve]")
			b.Leave("the space bar", func() { b.Do(chromedp.KeyEvent(" ")) })
			b.Has("Approved")
		})
	}
}

func (b *tab) pendingStill(id, what string) {
	b.t.Helper()
	if b.g.state("alice", id) != provider.StatePending {
		b.t.Fatalf("%s: the request is %s", what, b.g.state("alice", id))
	}
}

// enter presses the Enter key, in the way that submits forms. If it does, which is
// without scripts, the page that follows is waited for.
func (b *tab) enter(stays bool) {
	b.t.Helper()
	press := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
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
	if !stays {
		b.Leave("Enter", func() { b.Do(press) })
		return
	}
	b.Do(press, chromedp.Sleep(300*time.Millisecond))
}

// tapAtOnce taps where Approve is, in the first moments of the page: they are made to
// last until the page is loaded again, however slow the machine is.
func (b *tab) tapAtOnce() {
	b.t.Helper()
	if guard := browsertest.Eval[string](b.Page, `(s => s.animationName + " " + s.animationDuration)(getComputedStyle(document.querySelector("[data-approve]")))`); guard != "arm 0.7s" {
		b.t.Errorf("Approve is armed by %q", guard)
	}
	b.Run(`{
		Date.now = (now => () => now)(Date.now());
		dispatchEvent(new Event("focus"));
		const button = document.querySelector("[data-approve]");
		button.style.animation = "none";
		button.getBoundingClientRect();
		button.style.animation = "";
		for (const arming of button.getAnimations()) {
			arming.pause();
			arming.currentTime = 0;
		}
	}`)
	x, y := b.Center("[data-approve]")
	b.Do(chromedp.MouseClickXY(x, y), chromedp.Sleep(300*time.Millisecond))
}

// interface.md, rule 1: on a phone all that decides is in view without
// scrolling, nothing is wider than the screen, and what is touched is big enough.
func TestBrowserFitsThePhone(t *testing.T) {
	for _, lang := range languages {
		t.Run(lang, func(t *testing.T) {
			b := newTab(t, withPayment)
			b.Speak(lang)
			_, id := b.g.pay("alice", "Wire to D. Ocean, invoice 4711")
			b.signIn("/requests/" + id)
			b.wait()
			missing := browsertest.Eval[[]string](b.Page, `
				[".who-name", ".hero-amount", ".payee", ".account", "dd.fence", "[data-words]", "[data-approve]", ".danger"].filter(s => {
					const e = document.querySelector(s), r = e && e.getBoundingClientRect();
					const hit = r && document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2);
					return !r || r.top < 0 || r.bottom > 844 || r.left < 0 || r.right > 390 || !(e.contains(hit) || hit.contains(e));
				})`)
			if len(missing) > 0 {
				t.Errorf("not in view: %v", missing)
			}
			for _, width := range []int64{390, 320} {
				b.Viewport(width, 844)
				wide := browsertest.Eval[int](b.Page, "document.documentElement.scrollWidth")
				if int64(wide) > width {
					b.Shoot("too-wide-" + lang)
					t.Errorf("%d wide at %d", wide, width)
				}
			}
			low := browsertest.Eval[[]float64](b.Page,
				`Array.from(document.querySelectorAll(".button"), e => e.getBoundingClientRect().height).filter(h => h < 52)`)
			if len(low) > 0 {
				t.Errorf("buttons of %v", low)
			}
			sizes := browsertest.Eval[[]float64](b.Page,
				`[".figure", ".payee", ".who-name"].map(s => parseFloat(getComputedStyle(document.querySelector(s)).fontSize))`)
			if sizes[0] <= sizes[1] || sizes[1] <= sizes[2] {
				t.Errorf("amount, payee and client in sizes %v", sizes)
			}
		})
	}
}

// The list renews itself while it is open, and none opens by itself.
func TestBrowserLiveList(t *testing.T) {
	b := newTab(t)
	b.signIn("/")
	b.Has("Nothing to approve")
	b.g.ask("alice", "Sign in at counter 7")
	b.Has("One request waits for you")
	b.g.ask("alice", "Sign in at counter 8")
	b.Has("Several requests wait at once")
	at := browsertest.Eval[string](b.Page, "location.href")
	if at != b.url+"/" {
		t.Errorf("at %s", at)
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
		ran := browsertest.Eval[bool](b.Page, "'xss' in window || document.querySelectorAll('script').length !== 1")
		if ran {
			t.Errorf("%s: %v", path, ran)
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
	b.Open(foreign)
	b.Forgive("frame-ancestors", "X-Frame-Options", "Refused to", "refused to", "chrome-error")
	framed := browsertest.Eval[bool](b.Page,
		`(() => { try { return document.querySelector("iframe").contentDocument !== null } catch { return false } })()`)
	if framed {
		t.Errorf("framed: %v", framed)
	}
	b.Press("button")
	b.Has("This could not be accepted")
	b.Forgive("403")
	b.pendingStill(id, "form of another site")
}

// What is decided on another device, or withdrawn, says so where it is open.
func TestBrowserDecidedElsewhere(t *testing.T) {
	b := newTab(t)
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.signIn("/requests/" + id)
	b.Has("wants your approval")
	err := b.g.provider.Deny(context.Background(), "sub-alice", id)
	if err != nil {
		t.Fatal(err)
	}
	b.Has("You denied this")
}

// U06: a double click is one decision, and its answer is what is seen.
func TestBrowserDoubleClick(t *testing.T) {
	b := newTab(t)
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.signIn("/requests/" + id)
	b.wait()
	b.DoublePress("[data-approve]")
	b.Has("Approved")
	if strings.Contains(b.Text(), "already") {
		t.Errorf("the second click was sent:\n%s", b.Text())
	}
}
