package stepup

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// desk returns the desk of the bench. Callers say who they are by X-Caller.
func (b *bench) desk() *Desk {
	return &Desk{
		Gates:  func() []*Gate { return []*Gate{b.gate} },
		Caller: func(r *http.Request) string { return r.Header.Get("X-Caller") },
	}
}

var teller = http.Header{"X-Caller": {"teller"}}

// look sends one request to the desk.
func (b *bench) look(method, target, body string, headers ...http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, readerOf(body))
	for _, header := range headers {
		for name, values := range header {
			r.Header[name] = values
		}
	}
	w := httptest.NewRecorder()
	err := b.desk().Serve(w, r)
	if err != nil {
		WriteProblem(w, r, asRefusal(err))
	}
	return w
}

// status reads the status of a transaction as its caller, who looks as often as a
// caller may.
func (b *bench) status(t *testing.T, location string) Status {
	t.Helper()
	w := b.look("GET", location, "", teller)
	for w.Code == http.StatusTooManyRequests {
		time.Sleep(lookInterval)
		w = b.look("GET", location, "", teller)
	}
	if w.Code != 200 {
		t.Fatalf("status of %s: %d %s", location, w.Code, w.Body)
	}
	var s Status
	err := json.Unmarshal(w.Body.Bytes(), &s)
	if err != nil {
		t.Fatalf("decoding status: %v", err)
	}
	return s
}

var respondAsync = http.Header{"Prefer": {"respond-async"}}

// start sends a request that is to be answered with 202 and returns its address.
func (b *bench) start(t *testing.T, body string, headers ...http.Header) string {
	t.Helper()
	header := respondAsync.Clone()
	for _, more := range headers {
		for name, values := range more {
			header[name] = values
		}
	}
	w := b.do("POST", "/p?q=1", body, header)
	location := w.Header().Get("Location")
	if w.Code != 202 || !strings.HasPrefix(location, statusPrefix) || w.Header().Get("Preference-Applied") != "respond-async" ||
		w.Header().Get("Retry-After") == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("answer is %d %v %s", w.Code, w.Header(), w.Body)
	}
	return location
}

func auto(b *bench) { b.route.Mode = ModeAuto }

// A caller that asks for it gets 202, can watch its transaction, and finds the
// upstream's own answer, as often as it likes (threats S03).
func TestAsync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &counting{}
		b := newBench(t, func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("X-Bank", "yes")
			return upstream.next(w, r)
		})
		auto(b)
		b.route.MatchCode = true
		decide := b.undecided()
		location := b.start(t, "1")
		synctest.Wait()
		s := b.status(t, location)
		if s.State != StateRequested || s.ResultURL != nil || s.CancelURL == nil || len(s.MatchCode) != 2 || s.ExpiresAt == nil || s.Interval == 0 || !strings.HasPrefix(s.Message, "Pay") {
			t.Errorf("status is %+v", s)
		}
		if !strings.HasPrefix(b.client.requests[0].BindingMessage, s.MatchCode+" Pay") {
			t.Errorf("message is %q, code %s", b.client.requests[0].BindingMessage, s.MatchCode)
		}
		early := b.look("GET", location+"/result", "", teller)
		if early.Code != 404 || early.Header().Get("Retry-After") == "" {
			t.Errorf("early result: %d", early.Code)
		}
		if upstream.count() != 0 {
			t.Errorf("sent %d times before approval", upstream.count())
		}
		close(decide)
		synctest.Wait()
		s = b.status(t, location)
		if s.State != StateAnswered || s.Forwarded != "" && s.Forwarded != ForwardedYes || s.ResultURL == nil || s.CancelURL != nil || s.Status != 201 {
			t.Errorf("status is %+v", s)
		}
		for range 2 {
			w := b.look("GET", *s.ResultURL, "", teller)
			if w.Code != 201 || w.Header().Get("X-Bank") != "yes" {
				t.Errorf("result is %d %v", w.Code, w.Header())
			}
		}
		if upstream.count() != 1 || upstream.bodies[0] != "1" || upstream.header.Get("Authorization") != "Bearer "+testToken {
			t.Errorf("upstream got %v %v", upstream.bodies, upstream.header)
		}
		late := b.look("DELETE", location, "", teller)
		if late.Code != 409 {
			t.Errorf("late cancel: %d", late.Code)
		}
		time.Sleep(25 * time.Hour)
		if w := b.look("GET", *s.ResultURL, "", teller); w.Code != 410 {
			t.Errorf("result after its retention: %d", w.Code)
		}
	})
}

// The ends of an async transaction, as the status and the result tell them.
func TestAsyncEnds(t *testing.T) {
	cases := []struct {
		name   string
		decide error
		next   Next
		state  State
		result int
	}{
		{name: "denied", decide: &ciba.Error{Op: "wait", Code: ciba.CodeAccessDenied}, state: StateDenied, result: 403},
		{name: "expired", decide: &ciba.Error{Op: "wait", Code: ciba.CodeExpiredToken}, state: StateExpired, result: 403},
		{name: "mismatch", decide: &ciba.Error{Op: "wait", Code: ciba.CodeMismatch}, state: StateFailed, result: 403},
		{name: "provider broken", decide: &ciba.Error{Op: "wait", Code: ciba.CodeInvalidResponse}, state: StateFailed, result: 503},
		{name: "upstream refuses", next: answering(422, "no"), state: StateAnswered, result: 422},
		{name: "upstream fails", next: func(http.ResponseWriter, *http.Request) error { return context.DeadlineExceeded }, state: StateInDoubt, result: 504},
		{name: "handler panics", next: func(http.ResponseWriter, *http.Request) error { panic("oops") }, state: StateInDoubt, result: 502},
		{name: "answer breaks off", next: func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("half"))
			panic(http.ErrAbortHandler)
		}, state: StateInDoubt, result: 502},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.next == nil {
					c.next = func(http.ResponseWriter, *http.Request) error {
						t.Error("was sent")
						return nil
					}
				}
				b := newBench(t, c.next)
				auto(b)
				decide := b.undecided()
				location := b.start(t, "1")
				if c.decide != nil {
					decide <- c.decide
				} else {
					close(decide)
				}
				synctest.Wait()
				s := b.status(t, location)
				w := b.look("GET", location+"/result", "", teller)
				if s.State != c.state || w.Code != c.result || s.CancelURL != nil {
					t.Errorf("state %s, result %d %s", s.State, w.Code, w.Body)
				}
				if tr := b.only(t); tr.State != c.state {
					t.Errorf("journal has %s", tr.State)
				}
				if _, err := b.gate.cabinet.openFile(t.Context(), b.only(t).ID); err != nil {
					t.Errorf("case is gone: %v", err)
				}
				if _, _, err := b.gate.cabinet.get(t.Context(), requestKind, b.only(t).ID); err == nil {
					t.Error("request was not removed")
				}
			})
		})
	}
}

// wait=N holds the answer for so long, and then it is a 202 (RFC 7240 section 4.3).
func TestAsyncWait(t *testing.T) {
	for _, fast := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, answering(201, "booked"))
			auto(b)
			decide := b.undecided()
			done := b.later("/p", "1", http.Header{"Prefer": {"respond-async, wait=10"}})
			if fast {
				time.Sleep(3 * time.Second)
				close(decide)
				if w := <-done; w.Code != 201 || w.Body.String() != "booked" {
					t.Errorf("answer is %d %s", w.Code, w.Body)
				}
				return
			}
			begun := time.Now()
			w := <-done
			if w.Code != 202 || w.Header().Get("Preference-Applied") != "respond-async, wait=10" || time.Since(begun) != 10*time.Second {
				t.Errorf("answer is %d %v after %v", w.Code, w.Header(), time.Since(begun))
			}
			close(decide)
		})
	}
}

// What is refused before the customer can decide is said at once, not by a 202.
func TestAsyncRefusedAtOnce(t *testing.T) {
	b := newBench(t, answering(201, ""))
	auto(b)
	b.client.start = func(context.Context, ciba.Request) error {
		return &ciba.Error{Op: "start", Code: ciba.CodeUnknownUserID}
	}
	w := b.do("POST", "/p", "1", respondAsync)
	if w.Code != 403 || b.lastRefusal().Problem != ProblemApprovalUnavailable || b.only(t).State != StateFailed {
		t.Errorf("answer is %d %s", w.Code, w.Body)
	}
	refusals := 0
	for _, kind := range b.events.types() {
		if kind == EventRefused {
			refusals++
		}
	}
	if refusals != 0 || !b.events.has(EventFailed) {
		t.Errorf("events are %v", b.events.types())
	}
}

// Status, result, events and cancel are for the caller alone (threats S01, S02,
// INV-10): all others get the same answer as for what does not exist.
func TestDeskIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, answering(201, ""))
		auto(b)
		decide := b.undecided()
		location := b.start(t, "1", http.Header{"Authorization": {"Basic dGVsbGVyOnB3"}})
		missing := b.look("GET", statusPrefix+strings.Repeat("A", 64), "", teller)
		if missing.Code != 404 {
			t.Fatalf("missing: %d", missing.Code)
		}
		altered := []byte(location)
		altered[len(altered)-2] ^= 1
		strangers := []struct {
			name, target string
			header       http.Header
		}{
			{name: "nobody", target: location},
			{name: "another caller", target: location, header: http.Header{"X-Caller": {"other"}}},
			{name: "another credential", target: location, header: http.Header{"Authorization": {"Basic b3RoZXI6cHc="}}},
			{name: "two credentials", target: location, header: http.Header{"Authorization": {"Basic dGVsbGVyOnB3", "x"}}},
			{name: "planted cookie", target: location, header: http.Header{"Cookie": {cookieName(b.only(t).ID) + "=AAAA"}}},
			{name: "altered", target: string(altered), header: teller},
			{name: "id", target: statusPrefix + b.only(t).ID, header: teller},
			{name: "long", target: statusPrefix + strings.Repeat("A", 10<<10), header: teller},
			{name: "what else", target: location + "/else", header: teller},
			{name: "nothing", target: Prefix, header: teller},
		}
		for _, s := range strangers {
			for _, method := range []string{"GET", "DELETE"} {
				for _, action := range []string{"", "/result", "/events", "/cancel", "/continue"} {
					if method == "DELETE" && action != "" {
						method = "POST"
					}
					w := b.look(method, s.target+action, "", s.header)
					if w.Code != missing.Code || w.Body.String() != missing.Body.String() {
						t.Errorf("%s: %s %s: %d %s", s.name, method, action, w.Code, w.Body)
					}
				}
			}
		}
		for name, header := range map[string]http.Header{
			"caller": teller, "credential": {"Authorization": {"Basic dGVsbGVyOnB3"}},
		} {
			if w := b.look("GET", location, "", header); w.Code != 200 {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		for _, method := range []string{"POST", "PUT", "PATCH"} {
			if w := b.look(method, location, "", teller); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, DELETE" {
				t.Errorf("%s: %d %v", method, w.Code, w.Header()) // threats S04
			}
		}
		close(decide)
	})
}

// Cancelling works until the request is sent; the question is withdrawn.
func TestCancel(t *testing.T) {
	for name, method := range map[string]string{"DELETE": "DELETE", "POST": "POST"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, answering(201, ""))
				auto(b)
				b.undecided()
				location := b.start(t, "1")
				target := location
				if method == "POST" {
					target += "/cancel"
				}
				cross := b.look(method, target, "", teller, http.Header{"Origin": {"https://evil.example"}})
				if cross.Code != 403 {
					t.Errorf("from another site: %d", cross.Code)
				}
				w := b.look(method, target, "", teller)
				if w.Code != 200 {
					t.Fatalf("cancel: %d %s", w.Code, w.Body)
				}
				synctest.Wait()
				s := b.status(t, location)
				if s.State != StateCancelled || b.client.withdrawn() != 1 || !b.events.has(EventCancelled) {
					t.Errorf("state %s, withdrawn %d times, events %v", s.State, b.client.withdrawn(), b.events.types())
				}
				if w := b.look("GET", location+"/result", "", teller); w.Code != 403 {
					t.Errorf("result: %d", w.Code)
				}
				if requests, _ := b.gate.Held(); requests != 0 {
					t.Errorf("%d requests are held", requests)
				}
			})
		})
	}
}

// A caller with an Idempotency-Key that hangs up loses nothing: the transaction
// goes on, and the same request gets its answer (outcome table, last row).
func TestHoldWithKeyOutlivesCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &counting{}
		b := newBench(t, upstream.next)
		decide := b.undecided()
		r := httptest.NewRequest("POST", "/p", strings.NewReader("1"))
		r.Header.Set("Idempotency-Key", "k")
		ctx, hangUp := context.WithCancel(t.Context())
		var served sync.WaitGroup
		served.Go(func() { b.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx)) })
		synctest.Wait()
		hangUp()
		synctest.Wait()
		if state := b.only(t).State; state != StateRequested {
			t.Fatalf("state is %s", state)
		}
		close(decide)
		served.Wait()
		w := b.do("POST", "/p", "1", withKey("k"))
		if w.Code != 201 || w.Header().Get("Idempotency-Replayed") != "true" || upstream.count() != 1 || b.client.asked() != 1 {
			t.Errorf("answer is %d %v, sent %d times", w.Code, w.Header(), upstream.count())
		}
	})
}

// An answer that is too long to be kept reaches a caller that waits, and is said
// to be gone afterwards.
func TestLongAnswer(t *testing.T) {
	b := newBench(t, answering(200, strings.Repeat("x", 100)))
	b.route.MaxResult = 99
	w := b.do("POST", "/p", "1", withKey("k"))
	if w.Code != 200 || w.Body.Len() != 100 {
		t.Errorf("answer is %d, %d bytes", w.Code, w.Body.Len())
	}
	w = b.do("POST", "/p", "1", withKey("k"))
	if w.Code != 409 || b.lastRefusal().Problem != ProblemAlreadySent {
		t.Errorf("repetition: %d %s", w.Code, w.Body)
	}
}
