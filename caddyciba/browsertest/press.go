package browsertest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// document is which document is in the tab, and how far it is. Each document begins
// at a time of its own.
type document struct {
	Origin float64 `json:"origin"`
	Ready  string  `json:"ready"`
	URL    string  `json:"url"`
}

const documentNow = `({origin: performance.timeOrigin, ready: document.readyState, url: location.href})`

// settled waits until there is a document other than the one before, complete.
func (p *Page) settled(before document, after string) {
	p.t.Helper()
	until(p, documentNow,
		func(d document) bool { return d.Origin != before.Origin && d.Ready == "complete" },
		func(d document) string { return fmt.Sprintf("no other page after %s, but still that of %+v", after, d) })
}

// Leave takes a step and waits until another page is there because of it.
func (p *Page) Leave(what string, step func()) {
	p.t.Helper()
	before := Eval[document](p, documentNow)
	step()
	p.settled(before, what)
}

// Open goes to an address and waits until the page is there. The page before, if it
// goes elsewhere by itself at the same moment, may win; then it is left once more. A
// page that goes elsewhere by itself each time is let go.
func (p *Page) Open(url string) {
	p.t.Helper()
	was := false
	for range 5 {
		var result page.NavigateResult
		p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			var err error
			result, err = cdp.Call(ctx, t, page.Navigate, page.NavigateParams{URL: url})
			return err
		}))
		aborted := strings.Contains(result.ErrorText, "ERR_ABORTED")
		if result.ErrorText != "" && !aborted {
			p.t.Fatalf("browser: opening %s: %s", url, result.ErrorText)
		}
		if aborted || !p.arrived(result.LoaderID) {
			continue
		}
		was = true
		p.Until(`document.readyState === "complete"`)
		// Without a loader only the fragment of the address has changed.
		if result.LoaderID == "" || p.loader() == result.LoaderID {
			return
		}
	}
	if !was {
		p.t.Fatalf("browser: opening %s: the page goes elsewhere each time\n%s", url, p.screen())
	}
}

// arrived waits until what a loader loads has been in the tab. The browser has the
// answer when it says which loader it is, so that it is there soon or never.
func (p *Page) arrived(loader cdp.LoaderID) bool {
	p.t.Helper()
	if loader == "" {
		return true
	}
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); p.rest() {
		p.mu.Lock()
		there := p.loaded[loader]
		p.mu.Unlock()
		if there {
			return true
		}
	}
	return false
}

// loader is what has loaded the document that is in the tab.
func (p *Page) loader() cdp.LoaderID {
	p.t.Helper()
	var loader cdp.LoaderID
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		r, err := cdp.Call(ctx, t, page.GetFrameTree, cdp.Empty{})
		if err == nil {
			loader = r.FrameTree.Frame.LoaderID
		}
		return err
	}))
	return loader
}

// place is where an element can be touched.
type place struct {
	X, Y float64
	// Why is empty if it can be touched.
	Why string
}

// touchable finds the middle of an element, brings it into view, and says why a
// finger would not reach it.
const touchable = `(selector, test) => {
	if (document.readyState === "loading") return {why: "the page is loading"};
	const element = document.querySelector(selector);
	if (!element) return {why: "is not there"};
	if (test && element.closest("[aria-disabled], :disabled")) return {why: "is disabled"};
	element.scrollIntoView({block: "nearest", behavior: "instant"});
	let box = element.getClientRects()[0];
	if (!box || box.width === 0 || box.height === 0) return {why: "is not visible"};
	const middle = () => [box.x + box.width / 2, box.y + box.height / 2];
	const hits = () => {
		const hit = document.elementFromPoint(...middle());
		if (!hit) return "nothing";
		const label = hit.closest("label");
		return element.contains(hit) || (label && label.control === element) ? "" : hit.outerHTML.slice(0, 120);
	};
	if (test && hits()) {
		element.scrollIntoView({block: "center", behavior: "instant"});
		box = element.getClientRects()[0];
	}
	const [x, y] = middle();
	const other = test ? hits() : "";
	return {x, y, why: other && "is under " + other};
}`

// Center returns the middle of an element in the viewport, whether or not a click
// there would reach it.
func (p *Page) Center(selector string) (x, y float64) {
	p.t.Helper()
	at := until(p, script(touchable, selector, false), func(at place) bool { return at.Why == "" },
		func(at place) string { return selector + " " + at.Why })
	return at.X, at.Y
}

// reach waits until a click in the middle of an element would reach it and the
// element keeps still.
func (p *Page) reach(selector string) place {
	p.t.Helper()
	var before place
	return until(p, script(touchable, selector, true),
		func(at place) bool {
			still := at.Why == "" && at == before
			before = at
			return still
		},
		func(at place) string { return strings.TrimSpace(selector + " cannot be clicked: " + at.Why) })
}

// Click clicks the middle of the first element that a CSS selector finds, with the
// mouse, once nothing covers or disables it. It does not wait for what follows.
func (p *Page) Click(selector string) {
	p.t.Helper()
	at := p.reach(selector)
	p.Do(chromedp.MouseClickXY(at.X, at.Y))
}

// Press is Click, and waits for the page that follows.
func (p *Page) Press(selector string) {
	p.t.Helper()
	p.Leave("clicking "+selector, func() { p.Click(selector) })
}

// DoublePress is Press by a double click.
func (p *Page) DoublePress(selector string) {
	p.t.Helper()
	p.Leave("clicking "+selector+" twice", func() {
		at := p.reach(selector)
		p.Do(chromedp.MouseClickXY(at.X, at.Y, chromedp.ClickCount(2)))
	})
}

// Focus puts the focus on the first element that a CSS selector finds.
func (p *Page) Focus(selector string) {
	p.t.Helper()
	p.Until(script(`(selector) => {
	const element = document.querySelector(selector);
	if (element) element.focus();
	return element && document.activeElement === element;
}`, selector))
}

// Type types into a field by the keyboard.
func (p *Page) Type(selector, text string) {
	p.t.Helper()
	p.Focus(selector)
	p.Do(chromedp.KeyEvent(text))
}

// Fill puts a text into a field at once, as a password manager would.
func (p *Page) Fill(selector, text string) {
	p.t.Helper()
	p.Until(script(`(selector, text) => {
	const field = document.querySelector(selector);
	if (!field) return false;
	field.value = text;
	field.dispatchEvent(new Event("input", {bubbles: true}));
	return true;
}`, selector, text))
}

// Upload chooses a file in a field for files.
func (p *Page) Upload(selector, file string) {
	p.t.Helper()
	p.Until(script("(selector) => document.querySelector(selector)", selector))
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		found, err := chromedp.Evaluate[*runtime.RemoteObject](script("(selector) => document.querySelector(selector)", selector))(ctx, t)
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, t, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: []string{file}, ObjectID: found.ObjectID})
		return err
	}))
}
