package stepup

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// A gate that is drained answers those that wait, withdraws their questions and
// lets nobody in until it is resumed.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &counting{}
		b := newBench(t, upstream.next)
		b.client.wait = untilDone
		answers := make(chan *httptest.ResponseRecorder, 3)
		for _, body := range []string{"1", "2", "3"} {
			go func() { answers <- b.do("POST", "/p", body, nil) }()
		}
		synctest.Wait()
		err := b.gate.Drain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			answer := <-answers
			if answer.Code != 503 || answer.Header().Get("Retry-After") != "5" {
				t.Errorf("answer is %d %v", answer.Code, answer.Header())
			}
		}
		if f := b.lastRefusal(); f.Problem != ProblemUnavailable || f.State != StateFailed || f.Forwarded != ForwardedNo || !errors.Is(f.Err, context.Canceled) {
			t.Errorf("refusal is %+v", f)
		}
		if n := b.client.withdrawn(); n != 3 {
			t.Errorf("%d questions were withdrawn, want 3", n)
		}
		if answer := b.do("POST", "/p", "late", nil); answer.Code != 503 {
			t.Errorf("a late request got %d", answer.Code)
		}
		if b.client.asked() != 3 || upstream.count() != 0 {
			t.Errorf("asked %d times, sent %d", b.client.asked(), upstream.count())
		}
		b.client.wait = nil
		b.gate.Resume()
		if answer := b.do("POST", "/p", "4", nil); answer.Code != 201 {
			t.Errorf("after Resume a request got %d", answer.Code)
		}
	})
}

// What is being sent when the gate is drained gets its answer.
func TestDrainWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		b := newBench(t, func(w http.ResponseWriter, _ *http.Request) error {
			<-finish
			w.WriteHeader(http.StatusCreated)
			return nil
		})
		answers := make(chan *httptest.ResponseRecorder, 1)
		go func() { answers <- b.do("POST", "/p", "1", nil) }()
		synctest.Wait()
		err := b.gate.Drain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = b.gate.Idle(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("idle while sending: %v", err)
		}
		close(finish)
		err = b.gate.Idle(t.Context())
		if err != nil {
			t.Error(err)
		}
		if answer := <-answers; answer.Code != 201 {
			t.Errorf("answer is %d", answer.Code)
		}
	})
}

// A provider that does not answer the withdrawal keeps Drain waiting for as long
// as its context says, and no longer.
func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, answering(200, ""))
		leave := make(chan struct{})
		b.client.wait = func(ctx context.Context) error {
			<-leave
			return untilDone(ctx)
		}
		done := make(chan struct{})
		go func() { defer close(done); b.do("POST", "/p", "1", nil) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.gate.Drain(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v", err)
		}
		close(leave)
		<-done
	})
}
