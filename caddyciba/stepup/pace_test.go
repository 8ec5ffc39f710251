package stepup

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Threat S07: a caller that looks all the time is told to wait, in the end gets its
// answer, and is in nobody else's way.
func TestPaceOfLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, answering(201, "done"))
		auto(b)
		decide := b.undecided()
		location, other := b.start(t, "1"), b.start(t, "2")
		refused := 0
		for range 600 { // in a minute
			w := b.look("GET", location, "", teller)
			switch w.Code {
			case http.StatusOK:
			case http.StatusTooManyRequests:
				refused++
				wait, err := strconv.Atoi(w.Header().Get("Retry-After"))
				if err != nil || wait < 1 || wait > pollAfter || !strings.Contains(w.Body.String(), string(ProblemTooManyLooks)) {
					t.Fatalf("answer is %v %s", w.Header(), w.Body)
				}
			default:
				t.Fatalf("status %d", w.Code)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if allowed := 600 - refused; allowed < 115 || allowed > 125 {
			t.Errorf("%d of 600 looks were allowed", allowed)
		}
		for b.look("GET", location, "", teller).Code == http.StatusOK {
		}
		if w := b.look("GET", location+"/result", "", teller); w.Code != http.StatusTooManyRequests {
			t.Errorf("result: status %d", w.Code)
		}
		// What changes something is not refused, nor is somebody else's look.
		if w := b.look("GET", other, "", teller); w.Code != http.StatusOK {
			t.Errorf("another transaction: status %d", w.Code)
		}
		if w := b.look("GET", location, "", http.Header{"X-Caller": {"mallory"}}); w.Code != http.StatusNotFound {
			t.Errorf("somebody else: status %d", w.Code)
		}
		if w := b.look("DELETE", location, "", teller); w.Code != http.StatusOK {
			t.Errorf("cancelling: status %d", w.Code)
		}
		time.Sleep(lookInterval)
		if w := b.look("GET", location, "", teller); w.Code != http.StatusOK {
			t.Errorf("later: status %d", w.Code)
		}
		close(decide)
		synctest.Wait()
	})
}

// Transactions that nobody looks at any more are forgotten.
func TestPacerForgets(t *testing.T) {
	p, now := newPacer(), time.Unix(0, 0)
	for i := range 10 * pacesKept {
		if wait := p.take(fmt.Sprint(i), now); wait != 0 {
			t.Fatalf("look %d has to wait %s", i, wait)
		}
		now = now.Add(lookInterval / 100)
	}
	if len(p.until) > 2*pacesKept {
		t.Errorf("%d are remembered", len(p.until))
	}
	for range looksAtOnce {
		if wait := p.take("x", now); wait != 0 {
			t.Fatalf("has to wait %s", wait)
		}
	}
	if wait := p.take("x", now); wait != lookInterval {
		t.Errorf("has to wait %s", wait)
	}
}
