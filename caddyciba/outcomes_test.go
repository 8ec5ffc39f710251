package caddyciba

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// An outcomeRow is a row of the table of design section 3.4.
type outcomeRow string

const (
	rowAnswered      outcomeRow = "approved and answered"
	rowDenied        outcomeRow = "denied / expired / hold over"
	rowNoCustomer    outcomeRow = "customer unknown or not enrolled"
	rowNoIdentity    outcomeRow = "caller has no identity"
	rowMismatch      outcomeRow = "token answers for another sub, acr, audience or digest"
	rowProviderDown  outcomeRow = "provider down, broken or slow"
	rowClientRefused outcomeRow = "our client refused by the provider"
	rowUnreachable   outcomeRow = "upstream unreachable, nothing written"
	rowUnknown       outcomeRow = "upstream failed or timed out after the first byte"
	rowDuplicate     outcomeRow = "duplicate running / done / other body"
	rowBody          outcomeRow = "body too large / unreadable / not shown in full"
	rowLimits        outcomeRow = "too many prompts / holds"
	rowHangsUp       outcomeRow = "caller hangs up while pending"
	rowOther         outcomeRow = "" // what the table leaves to threats.md
)

// outcomeModes are the modes in which each row has to be seen. Where there is only
// one, the answer is the same before the mode makes a difference.
var outcomeModes = map[outcomeRow][]stepup.Mode{
	rowAnswered:      {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowDenied:        {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowNoCustomer:    {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowNoIdentity:    {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowMismatch:      {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowProviderDown:  {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowClientRefused: {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowUnreachable:   {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowUnknown:       {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowDuplicate:     {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowBody:          {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowLimits:        {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
	rowHangsUp:       {stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect},
}

// An outcomeCase is one thing that can happen to a request. The answer that counts
// is the last one: in async mode the result, in redirect mode what the waiting page
// leads to.
type outcomeCase struct {
	row      outcomeRow
	name     string
	modes    []stepup.Mode // default: all
	protocol string        // "h1" or "h2" if it can happen in one only
	customer string        // what X-Customer says; late gets the case's number
	request  outcomeRequest
	// play does more than to send the request and to wait.
	play func(*outcomePlay) answer

	status    int
	problem   stepup.Problem // empty for an answer that is not a problem
	forwarded any            // what the problem says: false, true or "unknown"
	header    map[string]string
	sent      int
}

// A value of outcomeCase.header that is one of these stands for itself only.
const (
	absent  = "(none)"
	present = "(some)"
)

// An outcomePlay is a case being played.
type outcomePlay struct {
	*outcomeWorld
	outcomeCase
	ctx    context.Context
	t      *testing.T
	mode   stepup.Mode
	client *http.Client
	number string
}

// TestOutcomeTable plays the table of design section 3.4 over HTTP/1.1 and HTTP/2, in
// all modes, before an upstream that counts.
func TestOutcomeTable(t *testing.T) {
	w := newOutcomeWorld(t)
	var next atomic.Int64
	var group sync.WaitGroup
	slots := make(chan struct{}, 24)
	for _, c := range outcomeCases() {
		for protocol, client := range map[string]*http.Client{"h1": w.http1, "h2": w.http2} {
			if c.protocol != "" && c.protocol != protocol {
				continue
			}
			for _, mode := range c.in() {
				p := &outcomePlay{
					outcomeWorld: w, outcomeCase: c, t: t, mode: mode, client: client,
					number: fmt.Sprint(next.Add(1)),
				}
				slots <- struct{}{}
				group.Go(func() {
					defer func() { <-slots }()
					p.run(fmt.Sprintf("%s, %s, %s %s", c.row, c.name, protocol, mode))
				})
			}
		}
	}
	group.Wait()
	w.stopWhileHeld(t)
}

// in are the modes of a case.
func (c outcomeCase) in() []stepup.Mode {
	if c.modes == nil {
		return []stepup.Mode{stepup.ModeHold, stepup.ModeAsync, stepup.ModeRedirect}
	}
	return c.modes
}

// run plays a case and compares.
func (p *outcomePlay) run(name string) {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	p.ctx = ctx
	if p.customer == late {
		p.customer += p.number
	}
	p.request.target += "?n=" + p.number
	if p.request.header == nil {
		p.request.header = http.Header{}
	}
	if p.customer != "" {
		p.request = p.request.with("X-Customer", p.customer)
	}
	var got answer
	if p.play != nil {
		got = p.play(p)
	} else {
		got = p.last(p.request)
	}
	for _, wrong := range p.compare(got) {
		p.t.Errorf("%s: %s: %+v", name, wrong, got)
	}
	if n := p.outcomeWorld.sent(p.number); n != p.outcomeCase.sent {
		p.t.Errorf("%s: the upstream was reached %d times, want %d: %+v", name, n, p.outcomeCase.sent, got)
	}
}

// compare says what is wrong with an answer.
func (p *outcomePlay) compare(got answer) []string {
	var wrong []string
	if got.err != nil && p.status != 0 {
		return []string{got.err.Error()}
	}
	if got.status != p.status {
		wrong = append(wrong, fmt.Sprintf("the status is not %d", p.status))
	}
	for name, want := range p.header {
		value := got.header.Get(name)
		if want != value && !(want == present && value != "") && !(want == absent && value == "") {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want %q", name, value, want))
		}
	}
	if p.problem == "" {
		return wrong
	}
	if got.header.Get("Cache-Control") != "no-store" {
		wrong = append(wrong, "it may be stored")
	}
	if strings.HasPrefix(got.header.Get("Content-Type"), "text/html") && p.mode == stepup.ModeRedirect {
		return wrong // a page for people says it in words
	}
	var doc struct {
		Type, Title, Detail string
		Status              int
		Forwarded           any
	}
	err := json.Unmarshal([]byte(got.body), &doc)
	switch {
	case err != nil || got.header.Get("Content-Type") != "application/problem+json":
		wrong = append(wrong, "it is no problem document")
	case doc.Type != "urn:caddyciba:problem:"+string(p.problem) || doc.Title == "" || doc.Status != p.status:
		wrong = append(wrong, fmt.Sprintf("the problem is not %s", p.problem))
	case doc.Forwarded != p.forwarded:
		wrong = append(wrong, fmt.Sprintf("forwarded is %v, want %v", doc.Forwarded, p.forwarded))
	}
	return wrong
}

// send sends a request as the mode has it, and returns the first answer.
func (p *outcomePlay) send(r outcomeRequest) answer {
	switch p.mode {
	case stepup.ModeAsync:
		r = r.with("Prefer", "respond-async")
	case stepup.ModeRedirect:
		r = r.with("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	}
	return p.do(p.ctx, p.client, r)
}

// last sends a request and follows it to its end.
func (p *outcomePlay) last(r outcomeRequest) answer { return p.follow(p.send(r)) }

// follow goes on from the first answer to the last.
func (p *outcomePlay) follow(first answer) answer {
	switch {
	case first.status == http.StatusAccepted && p.mode == stepup.ModeAsync:
		if !strings.HasPrefix(first.header.Get("Preference-Applied"), "respond-async") || first.header.Get("Retry-After") == "" {
			return answer{err: fmt.Errorf("the 202 is %+v", first)}
		}
	case first.status == http.StatusSeeOther && p.mode == stepup.ModeRedirect:
	default:
		return first
	}
	location, cookie := first.header.Get("Location"), cookieOf(first)
	if location == "" || first.header.Get("Cache-Control") != "no-store" || cookie == "" && p.mode == stepup.ModeRedirect {
		return answer{err: fmt.Errorf("the first answer is %+v", first)}
	}
	header := http.Header{"X-Customer": {p.customer}}
	if cookie != "" {
		header.Set("Cookie", cookie)
	}
	for {
		status, err := statusOf(p.do(p.ctx, p.client, outcomeRequest{method: http.MethodGet, target: location, header: header}))
		if err != nil {
			return answer{err: err}
		}
		switch {
		case status.State.Final():
			return p.do(p.ctx, p.client, outcomeRequest{method: http.MethodGet, target: location + "/result", header: header})
		case status.State == stepup.StateApproved && p.mode == stepup.ModeRedirect:
			return p.proceed(location, header)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// proceed does what the waiting page does when the customer has approved.
func (p *outcomePlay) proceed(location string, header http.Header) answer {
	browser := outcomeRequest{method: http.MethodGet, target: location, header: header}.with("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	page := p.do(p.ctx, p.client, browser)
	action := formAction.FindStringSubmatch(page.body)
	if action == nil {
		return answer{err: fmt.Errorf("the page is %+v", page)}
	}
	values := url.Values{}
	for _, field := range formField.FindAllStringSubmatch(page.body, -1) {
		values.Set(field[1], field[2])
	}
	r := outcomeRequest{target: strings.ReplaceAll(action[1], "&amp;", "&"), header: header, body: values.Encode()}
	return p.do(p.ctx, p.client, r.with("Content-Type", "application/x-www-form-urlencoded", "Origin", "https://"+p.host))
}

// cookieOf is the cookie by which a caller is known, if there is one.
func cookieOf(got answer) string {
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	return cookie
}

// problemsElsewhere are kinds of problems that no case ends as, with what shows them.
var problemsElsewhere = map[stepup.Problem]string{
	stepup.ProblemBusy:        "TestLimits in package stepup, as it takes 4096 requests",
	stepup.ProblemTooManyHeld: "stopWhileHeld",
	stepup.ProblemUnavailable: "stopWhileHeld",
	stepup.ProblemCallerGone:  "hangsUp, as nobody is there to be told",
}

// TestOutcomesComplete fails if a row of the table has no case in one of its modes,
// or a kind of problem has none at all.
func TestOutcomesComplete(t *testing.T) {
	played := make(map[outcomeRow][]stepup.Mode)
	problems := make(map[stepup.Problem]bool)
	for _, c := range outcomeCases() {
		played[c.row] = append(played[c.row], c.in()...)
		problems[c.problem] = true
	}
	for row, modes := range outcomeModes {
		for _, mode := range modes {
			if !slices.Contains(played[row], mode) {
				t.Errorf("%q has no case in mode %s", row, mode)
			}
		}
	}
	kinds := problemKinds(t)
	if len(kinds) < 30 {
		t.Fatalf("only %d kinds of problems were found", len(kinds))
	}
	for _, kind := range kinds {
		if !problems[kind] && problemsElsewhere[kind] == "" {
			t.Errorf("no case ends as %s", kind)
		}
	}
}

// problemKinds are the constants of type Problem.
func problemKinds(t *testing.T) []stepup.Problem {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "stepup/problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []stepup.Problem
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		kind, ok := spec.Type.(*ast.Ident)
		if ok && kind.Name == "Problem" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, stepup.Problem(text))
		}
		return true
	})
	return kinds
}
