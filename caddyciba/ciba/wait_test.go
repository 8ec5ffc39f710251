package ciba

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// gaps returns the whole seconds from the answer to the start, to each poll in
// turn. The fake provider answers in no time unless it sleeps.
func gaps(op *fakeOP) []int {
	last := op.seen("/backchannel")[0].at
	var out []int
	for _, c := range op.seen("/token") {
		out = append(out, int(c.at.Sub(last)/time.Second))
		last = c.at
	}
	return out
}

func wantGaps(t *testing.T, op *fakeOP, want ...int) {
	t.Helper()
	got := gaps(op)
	if len(got) != len(want) {
		t.Fatalf("polled after %v s, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("polled after %v s, want %v", got, want)
		}
	}
}

var (
	pending  = refuses(CodeAuthorizationPending)
	slowDown = refuses(CodeSlowDown)
)

// fapi-ciba-id1-client-test in poll mode: pending twice, tokens at the third
// poll. CIBA checklist T3, R4.
func TestWaitPollsAtTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.onPolls(pending, pending, op.approve(nil))
		p := start(t, c)
		defer func() {
			if op.seen("/token")[0].header.Get("Prefer") != "" {
				t.Error("the provider was asked to hold the poll")
			}
		}()
		var seen []string
		tokens, err := c.Wait(t.Context(), p, Check{Subject: testSubject}, func(attempt int, err error) {
			if attempt != len(seen)+1 {
				t.Errorf("attempt %d after %d polls", attempt, len(seen))
			}
			seen = append(seen, Code(err))
		})
		if err != nil {
			t.Fatal(err)
		}
		if tokens.AccessToken != testAccess || tokens.Claims.Subject != testSubject {
			t.Errorf("got tokens %q for %q", tokens.AccessToken, tokens.Claims.Subject)
		}
		if len(seen) != 3 || seen[0] != CodeAuthorizationPending || seen[2] != "" {
			t.Errorf("saw %q", seen)
		}
		wantGaps(t, op, 5, 5, 5)
	})
}

// fapi-ciba-id1-client-respects-interval-test. CIBA checklist R4.
func TestWaitRespectsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.on("/backchannel", sends(200, map[string]any{"auth_req_id": testAuthReqID, "expires_in": 120, "interval": 31}))
		op.onPolls(pending, op.approve(nil))
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 31, 31)
	})
}

// fapi-ciba-id1-client-slow-down-test: 5 s more, for all later polls. CIBA
// checklist T3.
func TestWaitSlowsDownForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.onPolls(pending, slowDown, pending, slowDown, pending, op.approve(nil))
		p := start(t, c)
		_, err := c.Wait(t.Context(), p, Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 5, 5, 10, 10, 15, 15)
		if p.Interval != 15*time.Second {
			t.Errorf("interval is %s", p.Interval)
		}
	})
}

// The interval runs from the answer, so a slow answer does not shorten the pause
// and polls never overlap. CIBA checklist T8.
func TestWaitMeasuresFromTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		slow := func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(3 * time.Second)
			pending(w, r)
		}
		op.onPolls(slow, slow, op.approve(nil))
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 5, 8, 8)
	})
}

// A provider that holds the poll for 25 s is asked again at once, unless it says
// slow_down. CIBA checklist T8.
func TestWaitLongPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		held := func(h http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(25 * time.Second)
				h(w, r)
			}
		}
		op.onPolls(held(pending), held(slowDown), held(op.approve(nil)))
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 5, 25, 35)
	})
}

// Asked to hold the poll, the provider answers in the moment of the decision. The
// first poll comes at once.
func TestWaitAsksForLongPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, func(cfg *Config) { cfg.LongPoll = 25 * time.Second })
		decided := time.Now().Add(32 * time.Second)
		op.onPolls(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Prefer") != "wait=25" {
				t.Errorf("header %v", r.Header)
			}
			time.Sleep(min(25*time.Second, time.Until(decided)))
			if time.Now().Before(decided) {
				pending(w, r)
				return
			}
			op.approve(nil)(w, r)
		})
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if err != nil || !time.Now().Equal(decided) {
			t.Fatalf("got %v, %s late", err, time.Since(decided))
		}
		wantGaps(t, op, 0, 25)
	})
}

// A provider that says pending for ever ends at our own deadline (R08), without
// a poll after it.
func TestWaitExpiresByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.on("/backchannel", sends(200, map[string]any{"auth_req_id": testAuthReqID, "expires_in": 12}))
		op.onPolls(pending)
		began := time.Now()
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if !IsExpired(err) || time.Since(began) != 12*time.Second {
			t.Fatalf("got %v after %s", err, time.Since(began))
		}
		wantGaps(t, op, 5, 5)
	})
}

// A poll that is held across the deadline is given up: what it would bring comes
// too late.
func TestWaitCutsPollAtDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.on("/backchannel", sends(200, map[string]any{"auth_req_id": testAuthReqID, "expires_in": 12}))
		op.onPolls(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(30 * time.Second):
			}
			op.approve(nil)(w, r)
		})
		began := time.Now()
		tokens, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if tokens != nil || !IsExpired(err) || time.Since(began) != 12*time.Second {
			t.Fatalf("got %v after %s", err, time.Since(began))
		}
	})
}

// fapi-ciba-id1-client-invalid-request-test, -access-denied-test,
// -expired-token-test: an error at the third poll ends the polling. CIBA
// checklist T4, T6; R07 for the unknown ones.
func TestWaitStopsOnFinalErrors(t *testing.T) {
	for _, code := range []string{
		CodeInvalidRequest, CodeAccessDenied, CodeExpiredToken, CodeInvalidGrant,
		CodeInvalidClient, CodeUnauthorizedClient, CodeTransactionFailed, "foo",
	} {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, op := newTestClient(t, nil)
				op.onPolls(pending, pending, refuses(code))
				_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
				wantCode(t, err, code)
				time.Sleep(time.Hour)
				wantGaps(t, op, 5, 5, 5)
			})
		})
	}
}

// R07: 5xx and 429 are borne with growing pauses, Retry-After is obeyed, and an
// answer resets the pause.
func TestWaitBearsFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		broken := writes(500, nil, "oops")
		op.onPolls(
			broken, broken, broken,
			pending,
			writes(503, map[string]string{"Retry-After": "17"}, ""),
			writes(429, map[string]string{"Retry-After": "1"}, ""),
			op.approve(nil),
		)
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 5, 5, 10, 20, 5, 17, 10)
	})
}

// R07: a Retry-After beyond the end of the request ends with the request.
func TestWaitClampsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.onPolls(writes(429, map[string]string{"Retry-After": "1000000000"}, ""))
		began := time.Now()
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if !IsExpired(err) || time.Since(began) != 2*time.Minute {
			t.Fatalf("got %v after %s", err, time.Since(began))
		}
		wantGaps(t, op, 5)
	})
}

type failingTransport struct {
	next http.RoundTripper
	fail func(*http.Request) error
}

func (f failingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	err := f.fail(r)
	if err != nil {
		return nil, err
	}
	return f.next.RoundTrip(r)
}

func TestWaitBearsNetworkFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		left := 2
		c.http.Transport = failingTransport{next: op, fail: func(r *http.Request) error {
			if r.URL.Path != "/token" || left == 0 {
				return nil
			}
			left--
			return errors.New("connection reset by peer")
		}}
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 20)
	})
}

// The end of the caller's context ends Wait in the same instant, in the pause as
// in a poll that is under way.
func TestWaitEndsWithContext(t *testing.T) {
	for name, after := range map[string]time.Duration{"pause": 3 * time.Second, "poll": 8 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, op := newTestClient(t, nil)
				op.onPolls(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				p := start(t, c)
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				began := time.Now()
				_, err := c.Wait(ctx, p, Check{}, nil)
				wantCode(t, err, CodeCanceled)
				if !errors.Is(err, context.DeadlineExceeded) || IsTemporary(err) || time.Since(began) != after {
					t.Fatalf("got %v after %s", err, time.Since(began))
				}
			})
		})
	}
}

// A signal polls at once; a flood of them moves one poll per interval (N06).
func TestWaitWakesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.onPolls(pending, pending, op.approve(nil))
		p := start(t, c)
		go func() {
			time.Sleep(time.Second)
			for range 1000 {
				p.Notify()
				time.Sleep(time.Millisecond)
			}
		}()
		_, err := c.Wait(t.Context(), p, Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 1, 5, 5)
	})
}

// A stored request is waited for by another client, without a channel.
func TestWaitForRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		p := start(t, c)
		restored := &Pending{AuthReqID: p.AuthReqID, ExpiresAt: p.ExpiresAt}
		restored.Notify()
		op.onPolls(pending, op.approve(nil))
		_, err := c.Wait(t.Context(), restored, Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 0, 5)
	})
}
