package stepup

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func operatorJournal(t *testing.T) *Journal {
	t.Helper()
	j, err := NewJournal(JournalConfig{Store: store.NewMemory(store.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// begun writes a transaction that has come as far as the last of the states.
func begun(t *testing.T, j *Journal, states ...State) *entry {
	t.Helper()
	e, err := j.begin(t.Context(), &Transaction{Method: "POST", Host: "bank", Target: "/transfers", Deadline: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range states {
		err = j.advance(t.Context(), e, state, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// An operator can cancel what has not been sent, and nothing else; whoever holds the
// transaction then cannot send it.
func TestOperatorCancels(t *testing.T) {
	j := operatorJournal(t)
	for name, row := range map[string]struct {
		states []State
		late   bool
	}{
		"held":      {nil, false},
		"requested": {[]State{StateRequested}, false},
		"approved":  {[]State{StateRequested, StateApproved}, false},
		"sending":   {[]State{StateRequested, StateApproved, StateSending}, true},
		"answered":  {[]State{StateRequested, StateApproved, StateSending, StateAnswered}, true},
		"in doubt":  {[]State{StateRequested, StateApproved, StateSending, StateInDoubt}, true},
		"denied":    {[]State{StateRequested, StateDenied}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := begun(t, j, row.states...)
			got, err := j.Cancel(t.Context(), e.ID)
			if row.late {
				if !errors.Is(err, ErrTooLate) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || got.State != StateCancelled || got.Problem != ProblemCancelled {
				t.Fatalf("got %+v, %v", got, err)
			}
			err = j.advance(t.Context(), e, StateFailed, nil)
			if !errors.Is(err, errMoved) {
				t.Errorf("the holder moves it on: %v", err)
			}
		})
	}
	_, err := j.Cancel(t.Context(), "nothing")
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// A doubt is resolved once. The transaction then is no longer listed as in doubt,
// does not stay for ever, and is still in its end.
func TestOperatorResolves(t *testing.T) {
	j := operatorJournal(t)
	e := begun(t, j, StateRequested, StateApproved, StateSending, StateInDoubt)
	for name, row := range map[string]struct {
		outcome Outcome
		note    string
	}{
		"no outcome": {"", ""}, "another outcome": {"maybe", ""},
		"long note": {OutcomeExecuted, strings.Repeat("a", maxNote+1)}, "deceptive note": {OutcomeExecuted, "a\u202eb"},
	} {
		_, err := j.Resolve(t.Context(), e.ID, row.outcome, row.note)
		if !errors.Is(err, ErrInvalidResolution) {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := j.Resolve(t.Context(), e.ID, OutcomeExecuted, "in the books of 3 May")
	if err != nil || got.Resolution == nil || got.Resolution.Outcome != OutcomeExecuted || got.State != StateInDoubt {
		t.Fatalf("got %+v, %v", got, err)
	}
	_, err = j.Resolve(t.Context(), e.ID, OutcomeNotExecuted, "")
	if !errors.Is(err, ErrNotInDoubt) {
		t.Errorf("resolved twice: %v", err)
	}
	for state, want := range map[State]int{StateInDoubt: 0, resolvedState: 1} {
		list, err := j.List(t.Context(), state, "", 10)
		if err != nil || len(list) != want {
			t.Errorf("%d listed as %s, %v", len(list), state, err)
		}
	}
	r, err := j.cfg.Store.Get(t.Context(), recordKind, e.ID)
	if err != nil || r.Expires.IsZero() {
		t.Errorf("it is kept for ever: %v", err)
	}
	other := begun(t, j, StateRequested)
	_, err = j.Resolve(t.Context(), other.ID, OutcomeExecuted, "")
	if !errors.Is(err, ErrNotInDoubt) {
		t.Errorf("resolved without doubt: %v", err)
	}
}

// Whoever is held is told at once of what an operator has called off, and the customer
// is no longer asked.
func TestOperatorCancelsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(http.ResponseWriter, *http.Request) error {
			t.Error("sent")
			return nil
		})
		b.undecided()
		answer := b.later("/p?q=1", "1", nil)
		got, err := b.gate.Cancel(t.Context(), b.only(t).ID)
		if err != nil || got.State != StateCancelled {
			t.Fatalf("%+v, %v", got, err)
		}
		w := <-answer
		if f := b.lastRefusal(); w.Code != http.StatusForbidden || f.Problem != ProblemCancelled || f.Forwarded != ForwardedNo {
			t.Errorf("answer %d, %+v", w.Code, f)
		}
		if b.client.withdrawn() != 1 || !slices.Equal(b.events.types(), []EventType{EventRequested, EventCancelled}) {
			t.Errorf("withdrawn %d times, events %v", b.client.withdrawn(), b.events.types())
		}
		_, err = b.gate.Cancel(t.Context(), got.ID)
		if !errors.Is(err, ErrTooLate) {
			t.Errorf("again: %v", err)
		}
	})
}
