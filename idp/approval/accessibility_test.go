package approval

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
)

// axe returns the code of axe-core. Without it the test is skipped, or fails where
// CIBA_REQUIRE_NODE is 1; npm ci in testdata/axe gets it.
func axe(t *testing.T) string {
	t.Helper()
	code, err := os.ReadFile("testdata/axe/node_modules/axe-core/axe.min.js")
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CIBA_REQUIRE_NODE") != "1" {
		t.Skip("axe-core is not installed: run npm ci in idp/approval/testdata/axe")
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(code)
}

// axeFindings are what axe-core finds, by what a person has of it.
const axeFindings = `axe.run(document, {
	runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
	resultTypes: ["violations"],
}).then(result => result.violations.map(v => v.impact + " " + v.id + ": " + v.help + "\n" + v.nodes.map(n => "  " + n.html + "\n  " + n.failureSummary).join("\n")))`

// WCAG 2.2 AA: axe-core finds nothing serious on any page, in light and in dark,
// on a phone and on a desk.
func TestAccessibility(t *testing.T) {
	code := axe(t)
	for _, look := range []struct {
		name   string
		width  int64
		medium []string
	}{
		{"light", 390, []string{"prefers-color-scheme", "light"}},
		{"dark", 1280, []string{"prefers-color-scheme", "dark"}},
	} {
		t.Run(look.name, func(t *testing.T) {
			b := newTab(t, withPayment, remembering, unlimited, reachable(t))
			b.Media(append(look.medium, "prefers-reduced-motion", "reduce")...)
			b.Viewport(look.width, 844)
			b.open("/offline")
			b.Run(`document.documentElement.removeAttribute("lang"); document.querySelector(".lede").style.color = "#777"`)
			if serious, _ := b.audit(code); len(serious) != 2 {
				t.Fatalf("what was put in is not found: %q", serious)
			}
			tour(b, func(page string) {
				b.wait()
				b.audited(page, code)
			})
			b.ForgiveAll() // error pages are errors to the browser
		})
	}
}

// The pages about signing in and devices, of which some are there with passkeys only.
func TestAccessibilityOfFactors(t *testing.T) {
	code := axe(t)
	b := newPasskeyTab(t, withPayment, withClasses)
	b.Media("prefers-color-scheme", "light", "prefers-reduced-motion", "reduce")
	shootFactors(b, func(page string) { b.audited(page, code) })
	b.ForgiveAll() // error pages are errors to the browser
}

// audited fails if axe-core finds something serious on the page.
func (b *tab) audited(page, code string) {
	b.t.Helper()
	serious, other := b.audit(code)
	for _, f := range serious {
		b.t.Errorf("%s: %s", page, f)
	}
	for _, f := range other {
		b.t.Logf("%s: %s", page, f)
	}
}

// audit returns what axe-core finds on the page.
func (b *tab) audit(code string) (serious, other []string) {
	b.t.Helper()
	b.Run(code)
	found := browsertest.Eval[[]string](b.Page, axeFindings)
	for _, f := range found {
		if strings.HasPrefix(f, "serious") || strings.HasPrefix(f, "critical") {
			serious = append(serious, f)
		} else {
			other = append(other, f)
		}
	}
	return serious, other
}

// WCAG 2.2, 1.4.10: at 400 % zoom nothing must be scrolled sideways, on no page.
func TestBrowserZoom(t *testing.T) {
	for _, lang := range []string{"de", "fr"} { // the longest words
		t.Run(lang, func(t *testing.T) {
			b := newTab(t, withPayment, remembering, unlimited, reachable(t))
			b.Speak(lang)
			b.Viewport(320, 256)
			tour(b, func(page string) {
				wide := browsertest.Eval[[]string](b.Page, `
					document.documentElement.scrollWidth <= innerWidth ? [] :
						Array.from(document.querySelectorAll("body *")).filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))`)
				for _, e := range wide {
					t.Errorf("%s is wider than the screen: %s", page, e)
				}
			})
			b.ForgiveAll() // error pages are errors to the browser
		})
	}
}

// WCAG 2.2, 2.1.1, 2.4.7 and 2.4.11: the Tab key gets everywhere, and what has the
// focus shows it and is not hidden behind the buttons.
func TestBrowserKeyboard(t *testing.T) {
	b := newTab(t, withPayment)
	_, id := b.g.start("alice", map[string][]string{"match_code": {"07"}, "authorization_details": {payment}})
	b.signIn("/requests/" + id)
	b.wait()
	missing := map[string]bool{}
	all := browsertest.Eval[[]string](b.Page,
		`Array.from(document.querySelectorAll("a[href], button:not([hidden]), input:not([type=hidden]), summary"), (e, i) => e.dataset.stop = e.tagName + i)`)
	for _, stop := range all {
		missing[stop] = true
	}
	for range len(all) {
		b.Do(key("Tab", 9), chromedp.Sleep(30*time.Millisecond))
		at := browsertest.Eval[[]string](b.Page, `(e => {
			const shows = [e, ...(e.parentElement.querySelectorAll("span"))].some(n => getComputedStyle(n).outlineStyle !== "none");
			const r = e.getBoundingClientRect(), hit = document.elementFromPoint(r.x + Math.min(r.width, 130) / 2, r.y + r.height / 2);
			return [e.dataset.stop || e.outerHTML.slice(0, 80), shows ? "" : "shows no focus", hit && (e.contains(hit) || hit.contains(e)) ? "" : "is hidden"];
		})(document.activeElement)`)
		delete(missing, at[0])
		if at[1] != "" || at[2] != "" {
			t.Errorf("%v", at)
		}
	}
	for stop := range missing {
		t.Errorf("the Tab key does not get to %s", stop)
	}
}

// key presses a key that types nothing.
func key(name string, code int64) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		for _, typ := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
			_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: typ, Key: name, Code: name, WindowsVirtualKeyCode: code})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
