package stepup

import (
	"context"
	"errors"
	"net/http"
	"time"

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

	// credentials are the caller's own Authorization and its proof, for a request that
	// needs no approval and goes on as it came.
	credentials http.Header
	passed      bool // it went on

	document *Document
	ask      Ask
	digest   Digest
	request  ciba.Request
	details  details

	mode       Mode
	credential []byte // hash of what the caller shows as its credential
	kept       *file  // nil for a request that ends with its caller's connection
	tape       *tape  // nil unless the answer is kept
	onAsked    func() // called when the customer has been asked, if not nil
	errand     *errand
	asked      *ciba.Pending  // nil before the customer was asked
	claims     *ciba.IDClaims // nil before the customer has approved

	key    string  // Idempotency-Key, if there is one
	prompt *prompt // nil before it is counted
	ticket *ticket // nil before there is one
	id     string  // of the transaction, empty before there may be one
	entry  *entry  // nil before state held
	claim  string  // of the attempt to send
}

// serve takes the request through all steps and ends what a step leaves open.
func (h *hold) serve() error {
	defer h.leave()
	defer func() {
		// What is in the way of the next line is a panic: of Ask, of a handler
		// behind us, or ours to break off an answer.
		if v := recover(); v != nil {
			h.abandon()
			panic(v)
		}
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

// leave gives back what the request has held.
func (h *hold) leave() {
	if h.place != nil {
		h.place.leave()
	}
	h.release()
	h.settlePrompt()
	h.visit.leave()
	if h.id != "" {
		h.gate.serving.Delete(h.id)
	}
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
	if h.route.OnChallenge {
		challenged, err := h.challenged()
		if err != nil || !challenged {
			return err
		}
	}
	steps := []func() error{h.question, h.begin}
	for _, step := range steps {
		err := step()
		if err != nil {
			return h.repetition(err)
		}
	}
	if h.mode.detached() {
		return h.detach()
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
	h.credentials = ownCredentials(h.r.Header)
	h.mode = h.route.Mode.choose(h.r)
	h.credential = credentialOf(h.r)
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
	err = h.keep(id)
	if err != nil {
		return err
	}
	path := h.snapshot.url.EscapedPath()
	// From the moment that it is written, somebody is at work on it.
	h.gate.serving.Store(id, h.visit)
	h.id = id
	entry, err := h.gate.journal.begin(h.caller, &Transaction{
		ID:       id,
		Gate:     h.gate.name,
		Mode:     h.mode,
		Kept:     h.kept != nil,
		Route:    h.route.Name,
		Method:   h.snapshot.Method(),
		Host:     h.snapshot.Host(),
		Target:   path,
		Digest:   h.digest.String(),
		Customer: Fingerprint(h.ask.Customer),
		Caller:   Fingerprint(h.ask.Caller),
		Deadline: h.gate.now().Add(h.patience()).UTC(),
	})
	if err != nil {
		return storeRefusal(err)
	}
	h.entry = entry
	return h.watch()
}

// patience is how long the transaction may take until it is sent.
func (h *hold) patience() time.Duration {
	if h.mode == ModeRedirect {
		return h.route.Hold + h.route.UpstreamTimeout + continueTime
	}
	return h.route.Hold + h.route.UpstreamTimeout
}

// left returns why the transaction has lost its caller. A request that is kept
// goes on without one.
func (h *hold) left() error {
	if h.kept != nil {
		return nil
	}
	return h.caller.Err()
}

// present refuses to go on for a caller that has left, and when the gate is
// being drained.
func (h *hold) present() error {
	err := h.left()
	if err != nil {
		return refuse(ProblemCallerGone, "Nothing was sent.", err)
	}
	if h.waiting.Err() != nil {
		return h.interrupted(context.Cause(h.waiting))
	}
	return nil
}

// interrupted is the answer when the wait was ended, by this process or by
// somebody who has moved the transaction on.
func (h *hold) interrupted(cause error) *Refusal {
	if errors.Is(context.Cause(h.waiting), errMoved) {
		return h.overtaken(cause)
	}
	return drained(cause)
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
	err = h.note(event, nil)
	if err != nil {
		return err
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
