package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/chromedp"
)

// ask evaluates an expression once, within the time for one question.
func ask[T any](p *Page, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, asked)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// until asks until an answer is right, and returns it. What explains makes of the
// last answer stands in the message of a failure.
func until[T any](p *Page, expression string, right func(T) bool, explain func(T) string) T {
	p.t.Helper()
	var last T
	var lastErr error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); p.rest() {
		got, err := ask[T](p, expression)
		lastErr = err
		if err != nil {
			continue
		}
		last = got
		if right(got) {
			return got
		}
	}
	p.t.Fatalf("browser: %s (last error: %v)\n%s", explain(last), lastErr, p.screen())
	return last
}

// rest waits a moment, or until the page ends.
func (p *Page) rest() {
	select {
	case <-time.After(pause):
	case <-p.ctx.Done():
		p.t.Helper()
		p.t.Fatalf("browser: the page has come to its end: %v", p.ctx.Err())
	}
}

// Eval returns what an expression is in the page, once the page is there. A promise
// is awaited. If the page is left meanwhile, the next one is asked; an exception
// fails the test.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for {
		p.Until(`document.readyState !== "loading" && document.body`)
		got, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
		if err == nil {
			return got
		}
		if !left(err) {
			p.t.Fatalf("browser: %s: %v\n%s", expression, err, p.screen())
		}
	}
}

// Run is Eval for what an expression does.
func (p *Page) Run(expression string) {
	p.t.Helper()
	Eval[chromedp.Void](p, expression)
}

// left reports whether an error only says that the page went while it was asked.
func left(err error) bool {
	var answer *cdproto.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, text := range []string{
		"context was destroyed", "Cannot find context", "Cannot find default execution context",
		"navigated or closed", "Could not find node", "Promise was collected",
	} {
		if strings.Contains(answer.Message, text) {
			return true
		}
	}
	return false
}

// Until waits until an expression, or what it promises, holds in the page.
func (p *Page) Until(expression string) {
	p.t.Helper()
	until(p, "Promise.resolve("+expression+").then(holds => !!holds)", func(ok bool) bool { return ok },
		func(bool) string { return "does not come true: " + expression })
}

// pageText is what a person can read.
const pageText = `document.body ? document.body.innerText : ""`

// Text returns what a person reads on the page.
func (p *Page) Text() string {
	p.t.Helper()
	return Eval[string](p, pageText)
}

// Has waits until the page says something.
func (p *Page) Has(want string) {
	p.t.Helper()
	until(p, pageText, func(text string) bool { return strings.Contains(text, want) },
		func(string) string { return fmt.Sprintf("the page does not say %q", want) })
}

// screen is where the page is and what it says, for the message of a failure.
func (p *Page) screen() string {
	text, err := ask[string](p, `location.href + " (" + document.readyState + ")\n" + (`+pageText+`)`)
	if err != nil {
		return fmt.Sprintf("(the page cannot be read: %v)", err)
	}
	return text
}

// script makes a call of a JavaScript function with arguments that are safe in it.
func script(function string, arguments ...any) string {
	texts := make([]string, len(arguments))
	for i, argument := range arguments {
		raw, err := json.Marshal(argument)
		if err != nil {
			raw = []byte("null") // not with strings and numbers
		}
		texts[i] = string(raw)
	}
	return "(" + function + ")(" + strings.Join(texts, ", ") + ")"
}
