package stepup

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// errAbandoned is the cause of a transaction that a panic has ended.
var errAbandoned = errors.New("handler panicked")

// ends says in which state a refusal leaves its transaction; the others are
// failed.
var ends = map[Problem]State{
	ProblemDenied:         StateDenied,
	ProblemExpired:        StateExpired,
	ProblemCallerGone:     StateCancelled,
	ProblemCancelled:      StateCancelled,
	ProblemOutcomeUnknown: StateInDoubt,
}

// endEvents are the events of the ends that a refusal can lead to.
var endEvents = map[State]EventType{
	StateDenied:    EventDenied,
	StateExpired:   EventExpired,
	StateCancelled: EventCancelled,
	StateFailed:    EventFailed,
	StateInDoubt:   EventInDoubt,
	StateAnswered:  EventAnswered,
}

// conclude ends the transaction as the refusal says and completes the refusal
// by what is written down.
func (h *hold) conclude(f *Refusal) *Refusal {
	if f.concluded {
		return f
	}
	f.concluded = true
	if f.Problem == ProblemApprovalUnavailable {
		h.dwell()
	}
	if h.entry == nil {
		h.gate.observe(Event{
			Type: EventRefused, Time: h.gate.now(), Route: h.route.Name,
			Problem: f.Problem, Held: h.gate.now().Sub(h.arrived), Err: f.Err,
		})
		return f
	}
	if h.parked(f) {
		// It stays where it is for the process that takes it up, and so does the
		// question.
		h.prompt = nil
		f.Transaction, f.State, f.Forwarded = h.entry.ID, h.entry.State, h.entry.Forwarded()
		return f
	}
	end, known := ends[f.Problem]
	if !known {
		end = StateFailed
	}
	h.settle(end, f, func(t *Transaction) {
		t.Problem, t.TimedOut = f.Problem, f.Status == http.StatusGatewayTimeout
	})
	h.closeFile()
	f.Transaction = h.entry.ID
	f.State = h.entry.State
	if h.entry.Claim != h.claim {
		// Somebody else has the transaction, and may have sent it.
		f.Forwarded = h.entry.Forwarded()
	}
	return f
}

// answered ends the transaction with the upstream's answer.
func (h *hold) answered(status int) {
	h.keepResult()
	h.settle(StateAnswered, nil, func(t *Transaction) { t.Status = status })
	h.closeFile()
}

// settle writes the end of the transaction. If the store does not take it, the
// transaction stays where it is and Recover ends it: one in sending in doubt.
func (h *hold) settle(end State, f *Refusal, change func(*Transaction)) {
	before := h.entry.State
	err := h.gate.journal.settle(h.caller, h.entry, end, h.claim, change)
	if err != nil {
		h.gate.log.Error("end of transaction was not written",
			zap.String("transaction", h.entry.ID), zap.String("end", string(end)), zap.Error(err))
	}
	if h.entry.State == before && before.Final() {
		return
	}
	_ = h.note(endEvents[end], f) // it has happened, and is in the journal
	h.tell(endEvents[end], f)
}

// tell reports an event of the transaction.
func (h *hold) tell(event EventType, f *Refusal) {
	e := Event{
		Type:        event,
		Time:        h.gate.now(),
		Route:       h.route.Name,
		Transaction: h.entry.clone(),
		Held:        h.gate.now().Sub(h.arrived),
	}
	if f != nil {
		e.Problem, e.Err = f.Problem, f.Err
	}
	h.gate.observe(e)
	if event == EventInDoubt {
		h.gate.log.Error("outcome of an approved request is not known",
			zap.String("transaction", h.entry.ID), zap.String("route", h.route.Name), zap.Error(e.Err))
	}
}

// dwell waits until the least time for approval-unavailable has passed.
func (h *hold) dwell() {
	rest := h.gate.delay - h.gate.now().Sub(h.arrived)
	if rest <= 0 {
		return
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.waiting.Done():
	}
}

// abandon ends the transaction after a panic. One that was being sent is in
// doubt, as nobody is left who knows.
func (h *hold) abandon() {
	if h.entry == nil || h.entry.State.Final() {
		return
	}
	f := refuse(ProblemUnavailable, "", errAbandoned)
	if h.entry.State == StateSending {
		f = refuse(ProblemOutcomeUnknown, "", errAbandoned)
	}
	_ = h.conclude(f)
}
