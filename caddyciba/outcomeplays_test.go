package caddyciba

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// begin sends a request that is kept and returns where it is. The customer is being
// asked by then.
func (p *outcomePlay) begin(r outcomeRequest) (location string, header http.Header, first answer) {
	first = p.send(r)
	header = http.Header{"X-Customer": {p.customer}}
	if cookie := cookieOf(first); cookie != "" {
		header.Set("Cookie", cookie)
	}
	return first.header.Get("Location"), header, first
}

// as plays a part of a case in another mode.
func (p *outcomePlay) as(mode stepup.Mode) *outcomePlay {
	other := *p
	other.mode = mode
	return &other
}

// until waits for something that others bring about.
func (p *outcomePlay) until(done func() bool) {
	for !done() && p.ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
}

// identical sends the same request twice; the first is waiting.
func identical(p *outcomePlay) answer {
	async := p.as(stepup.ModeAsync)
	first := async.send(p.request)
	second := p.send(p.request)
	p.release(p.customer)
	end := async.follow(first)
	if end.status != http.StatusCreated {
		return answer{err: fmt.Errorf("the first got %+v", end)}
	}
	return second
}

// joins sends the same request with the same key twice; the second one waits for the
// end of the first.
func joins(p *outcomePlay) answer {
	keyed := p.request.with("Idempotency-Key", "key-"+p.number)
	async := p.as(stepup.ModeAsync)
	first := async.send(keyed)
	second := make(chan answer, 1)
	go func() { second <- p.send(keyed) }()
	select {
	case got := <-second:
		return answer{err: fmt.Errorf("the second did not wait: %+v", got)}
	case <-time.After(50 * time.Millisecond):
	}
	p.release(p.customer)
	async.follow(first)
	return <-second
}

// besideBrowser repeats a request by a program that waits on a page in a browser.
func besideBrowser(p *outcomePlay) answer {
	keyed := p.request.with("Idempotency-Key", "key-"+p.number)
	p.as(stepup.ModeRedirect).send(keyed)
	return p.send(keyed)
}

// oneTooMany asks a customer twice who may be asked once.
func oneTooMany(p *outcomePlay) answer {
	p.request.header.Set("X-Customer", "once-"+p.number)
	first := p.do(p.ctx, p.client, p.request)
	if first.status != http.StatusCreated {
		return answer{err: fmt.Errorf("the first got %+v", first)}
	}
	p.request.body = "another"
	return p.send(p.request)
}

// partOfBody sends a part of the body and then ends it, or nothing more.
func partOfBody(waits bool) func(*outcomePlay) answer {
	return func(p *outcomePlay) answer {
		conn, err := tls.Dial("tcp", p.host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			return answer{err: err}
		}
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nX-Customer: %s\r\nContent-Length: 10\r\n\r\n01234", p.request.target, p.host, p.customer)
		if err == nil && !waits {
			err = conn.CloseWrite()
		}
		if err != nil {
			return answer{err: err}
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return answer{err: err}
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return answer{status: resp.StatusCode, header: resp.Header, body: string(text), err: err}
	}
}

// cancelledOne cancels a request that waits, and reads what has become of it.
func cancelledOne(p *outcomePlay) answer {
	location, header, first := p.begin(p.request)
	got := p.do(p.ctx, p.client, outcomeRequest{method: http.MethodDelete, target: location, header: header})
	if got.status != http.StatusOK {
		return answer{err: fmt.Errorf("cancelling: %+v", got)}
	}
	p.release(p.customer) // too late
	return p.follow(first)
}

// cancelledLate cancels a request that was answered.
func cancelledLate(p *outcomePlay) answer {
	location, header, first := p.begin(p.request)
	p.release(p.customer)
	end := p.follow(first)
	if end.status != http.StatusCreated {
		return end
	}
	return p.do(p.ctx, p.client, outcomeRequest{method: http.MethodDelete, target: location, header: header})
}

// looks goes to an address of a request that waits.
func looks(method, path string, pairs ...string) func(*outcomePlay) answer {
	return func(p *outcomePlay) answer {
		location, header, _ := p.begin(p.request)
		return p.do(p.ctx, p.client, outcomeRequest{method: method, target: location + path, header: header}.with(pairs...))
	}
}

// looksTooOften looks at the status until it is told to wait.
func looksTooOften(p *outcomePlay) answer {
	location, header, _ := p.begin(p.request)
	var got answer
	for range 1000 {
		got = p.do(p.ctx, p.client, outcomeRequest{method: http.MethodGet, target: location, header: header})
		if got.status != http.StatusOK {
			break
		}
	}
	return got
}

// leave sends a request and hangs up while the customer is being asked.
func (p *outcomePlay) leave(r outcomeRequest) error {
	ctx, hangUp := context.WithCancel(p.ctx)
	defer hangUp()
	gone := make(chan answer, 1)
	go func() { gone <- p.do(ctx, p.client, r) }()
	p.until(func() bool { return p.asked(p.customer) == 1 })
	hangUp()
	got := <-gone
	if !errors.Is(got.err, context.Canceled) {
		return fmt.Errorf("hanging up: %+v", got)
	}
	return nil
}

// hangsUp leaves, and then the customer approves: nothing may come of it.
func hangsUp(p *outcomePlay) answer {
	path := "/p/left-" + p.number // the journal knows no query
	p.request.target = path + "?n=" + p.number
	err := p.leave(p.request)
	if err != nil {
		return answer{err: err}
	}
	p.until(func() bool { return p.cancelled(path) })
	if p.ctx.Err() != nil {
		p.t.Error("a caller without a key has left, and its transaction is not cancelled")
	}
	p.release(p.customer)
	return answer{}
}

// cancelled reports whether the transaction for a path is. Gates of one store have
// one journal.
func (p *outcomePlay) cancelled(path string) bool {
	for _, engine := range allEngines() {
		list, err := engine.Journal().List(p.ctx, stepup.StateCancelled, "", 1000)
		if err == nil && slices.ContainsFunc(list, func(tx *stepup.Transaction) bool { return tx.Target == path }) {
			return true
		}
	}
	return false
}

// hangsUpWithKey leaves; the request goes on, and its answer is kept for the key.
func hangsUpWithKey(p *outcomePlay) answer {
	keyed := p.request.with("Idempotency-Key", "key-"+p.number)
	err := p.leave(keyed)
	if err != nil {
		return answer{err: err}
	}
	p.release(p.customer)
	p.until(func() bool { return p.outcomeWorld.sent(p.number) == 1 })
	return p.send(keyed)
}

// comesBack has got its first answer and closes its connections.
func comesBack(p *outcomePlay) answer {
	first := p.send(p.request)
	if p.client == p.http1 {
		p.client.CloseIdleConnections()
	}
	p.release(p.customer)
	return p.follow(first)
}

// stopWhileHeld fills the room that one caller has, and then stops Caddy: who waits
// is told so.
func (w *outcomeWorld) stopWhileHeld(t *testing.T) {
	request := outcomeRequest{target: "/p/book", header: http.Header{"X-Customer": {sleeper}}}
	var group sync.WaitGroup
	answers := make(chan answer, 2)
	for _, client := range []*http.Client{w.http1, w.http2} {
		before := w.asked(sleeper)
		group.Go(func() {
			r := request
			r.target = fmt.Sprintf("/p/book?n=stop-%t", client == w.http2)
			answers <- w.do(t.Context(), client, r)
		})
		eventually(t, "the question", func() bool { return w.asked(sleeper) > before })
	}
	var full answer
	for i := range 300 {
		r := request.with("Prefer", "respond-async")
		r.target = fmt.Sprintf("/p/book?n=full-%d", i)
		full = w.do(t.Context(), w.http2, r)
		if full.status != http.StatusAccepted {
			break
		}
	}
	full.wantProblem(t, http.StatusTooManyRequests, string(stepup.ProblemTooManyHeld), false)
	if full.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	err := caddy.Stop()
	if err != nil {
		t.Fatal(err)
	}
	group.Wait()
	for range 2 {
		got := <-answers
		got.wantProblem(t, http.StatusServiceUnavailable, string(stepup.ProblemUnavailable), false)
		if got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if n := w.sent("stop-true") + w.sent("stop-false"); n != 0 {
		t.Errorf("%d were sent", n)
	}
}
