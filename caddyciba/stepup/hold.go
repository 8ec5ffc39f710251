package stepup

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// hold is one request on its way through the gate: the parts of it that one
// step leaves to the next. It belongs to the goroutine of its request.
type hold struct {
	gate  *Gate
	route *Route
	next  Next
	w     http.ResponseWriter
	r     *http.Request

	// caller ends when the caller's connection does, or its request. It is the
	// context with which the request came.
	caller  context.Context
	arrived time.Time

	// waiting ends with caller, and when the gate is drained. It is the context
	// of everything before the request is sent.
	waiting context.Context
	visit   *visit

	place    *place
	snapshot *Snapshot

	// credentials is the caller's own Authorization, for a request that needs no
	// approval and goes on as it came.
	credentials []string
	passed      bool // it went on

	document *Document
	ask      Ask
	digest   Digest
	request  ciba.Request
	details  details

	key    string  // Idempotency-Key, if there is one
	prompt *prompt // nil before it is counted
	ticket *ticket // nil before there is one
	entry  *entry  // nil before state held
	claim  string  // of the attempt to send
}

// errAbandoned is the cause of a transaction that a panic has ended.
var errAbandoned = errors.New("handler panicked")

// serve takes the request through all steps and ends what a step leaves open.
func (h *hold) serve() error {
	defer func() {
		if h.place != nil {
			h.place.leave()
		}
		// What is in the way of the next line is a panic: of Ask, of a handler
		// behind us, or ours to break off an answer.
		if v := recover(); v != nil {
			h.abandon()
			h.release()
			h.settlePrompt()
			panic(v)
		}
		h.release()
		h.settlePrompt()
	}()
	err := h.run()
	if err == nil || h.passed {
		return err
	}
	var f *Refusal
	if !errors.As(err, &f) {
		f = refuse(ProblemUnavailable, "Nothing was sent.", err)
	}
	return h.conclude(f)
}

// run is the decision path of a held request.
func (h *hold) run() error {
	err := h.receive()
	if err != nil {
		return err
	}
	needed, err := h.needsApproval()
	if err != nil {
		return err
	}
	if !needed {
		return h.pass()
	}
	steps := []func() error{h.question, h.begin}
	for _, step := range steps {
		err := step()
		if err != nil {
			return err
		}
	}
	tokens, err := h.approve()
	if err != nil {
		return err
	}
	return h.send(tokens)
}

// receive checks the request and takes all of it into memory.
func (h *hold) receive() error {
	err := h.present()
	if err != nil {
		return err
	}
	err = CheckTarget(h.r)
	if err != nil {
		return err
	}
	err = checkUpgrade(h.r)
	if err != nil {
		return err
	}
	h.credentials = slices.Clone(h.r.Header[defaultTokenHeader])
	err = Clean(h.r, h.route.OwnHeaders()...)
	if err != nil {
		return err
	}
	h.key = h.r.Header.Get("Idempotency-Key") // Clean has looked at it
	size := h.route.MaxBody
	if h.r.ContentLength >= 0 {
		size = min(size, h.r.ContentLength)
	}
	h.place, err = h.gate.occupancy.enter(size)
	if err != nil {
		return err
	}
	if h.route.Caller != nil {
		err = h.place.of(h.route.Caller(h.caller))
		if err != nil {
			return err
		}
	}
	h.snapshot, err = takeSnapshot(h.w, h.r, h.route.MaxBody, h.route.BodyTimeout)
	if err != nil {
		return err
	}
	h.place.shrink(h.snapshot.Size())
	h.document = NewDocument(h.snapshot, h.route.Namespaces)
	return h.document.checkOverride()
}

// begin writes the transaction down, if there is no other one for the same
// request.
func (h *hold) begin() error {
	err := h.present()
	if err != nil {
		return err
	}
	id, err := newUUID(h.gate.journal.cfg.Rand)
	if err != nil {
		return storeRefusal(err)
	}
	if h.route.Caller == nil {
		err = h.place.of(h.ask.Caller)
		if err != nil {
			return err
		}
	}
	err = h.beFirst(id)
	if err != nil {
		return err
	}
	err = h.countPrompt(id)
	if err != nil {
		return err
	}
	path := h.snapshot.url.EscapedPath()
	entry, err := h.gate.journal.begin(h.caller, &Transaction{
		ID:       id,
		Route:    h.route.Name,
		Method:   h.snapshot.Method(),
		Host:     h.snapshot.Host(),
		Target:   path,
		Digest:   h.digest.String(),
		Customer: Fingerprint(h.ask.Customer),
		Caller:   Fingerprint(h.ask.Caller),
		Deadline: h.gate.now().Add(h.route.Hold + h.route.UpstreamTimeout).UTC(),
	})
	if err != nil {
		return storeRefusal(err)
	}
	h.entry = entry
	h.gate.serving.Store(entry.ID, true)
	return nil
}

// present refuses to go on for a caller that has left, and when the gate is
// being drained.
func (h *hold) present() error {
	err := h.caller.Err()
	if err != nil {
		return refuse(ProblemCallerGone, "Nothing was sent.", err)
	}
	if h.waiting.Err() != nil {
		return drained(context.Cause(h.waiting))
	}
	return nil
}

// storeRetryAfter is when a caller may try again after the store has failed.
const storeRetryAfter = 10 * time.Second

// storeRefusal is the answer when the journal did not take a write.
func storeRefusal(err error) *Refusal {
	f := refuse(ProblemUnavailable, "Nothing was sent. Try again later.", err)
	f.RetryAfter = storeRetryAfter
	return f
}

// move advances the transaction and says so. Its error is a *Refusal.
func (h *hold) move(next State, event EventType, change func(*Transaction)) error {
	err := h.gate.journal.advance(h.caller, h.entry, next, change)
	if errors.Is(err, errMoved) {
		return h.overtaken(err)
	}
	if err != nil {
		return storeRefusal(err)
	}
	h.tell(event, nil)
	return nil
}

// overtaken is the answer for a transaction that somebody else has moved on.
func (h *hold) overtaken(cause error) *Refusal {
	current, err := h.gate.journal.read(h.caller, h.entry.ID)
	if err != nil {
		return storeRefusal(errors.Join(cause, err))
	}
	*h.entry = *current
	if current.State == StateCancelled {
		return refuse(ProblemCancelled, "Nothing was sent.", cause)
	}
	return storeRefusal(cause)
}

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
	end, known := ends[f.Problem]
	if !known {
		end = StateFailed
	}
	h.settle(end, f, func(t *Transaction) { t.Problem = f.Problem })
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
	h.settle(StateAnswered, nil, func(t *Transaction) { t.Status = status })
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
