package stepup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// errand is a transaction that goes on without its caller's connection, in a
// goroutine of its own.
type errand struct {
	hold  *hold
	leave func() // of what must live as long as the errand

	asked chan struct{} // closed when the customer has been asked
	done  chan struct{} // closed at the end
	err   error         // what has become of it; read after done

	// ready is where an approved request in mode redirect is handed to whoever has
	// come for its answer. They send it, and close returned.
	ready    chan handover
	returned chan struct{}
}

// handover is an approved request with what it takes to send it.
type handover struct {
	hold   *hold
	tokens *ciba.Tokens
}

// detach hands the transaction to an errand and answers the caller.
func (h *hold) detach() error {
	leave, err := h.gate.stay()
	if err != nil {
		return storeRefusal(err)
	}
	own := *h
	own.tape = newTape(nil, h.kept.MaxResult)
	own.w = own.tape
	own.caller = context.WithoutCancel(h.caller)
	own.r = h.r.WithContext(own.caller)
	if h.route.Detach != nil {
		r, route, next := h.route.Detach()
		own.r, own.route, own.next = r, route.withDefaults(), next
		own.route.demandAs(h.route)
	}
	e := newErrand(&own, leave)
	h.gate.serving.Store(h.id, e)

	// The rest belongs to the errand. What this hold gives back at its end is
	// nothing any more.
	id := h.id
	h.waiting, h.visit = h.gate.door.enter(h.caller)
	h.place, h.ticket, h.prompt, h.entry, h.id = nil, nil, nil, nil, ""
	go e.run(own.perform)
	return h.attend(e, id)
}

func newErrand(h *hold, leave func()) *errand {
	e := &errand{
		hold:     h,
		leave:    leave,
		asked:    make(chan struct{}),
		done:     make(chan struct{}),
		ready:    make(chan handover),
		returned: make(chan struct{}),
	}
	h.errand = e
	h.onAsked = func() { close(e.asked) }
	return e
}

// run does the work and gives back what the transaction has held.
func (e *errand) run(work func() error) {
	h := e.hold
	defer e.leave()
	defer close(e.done)
	defer h.leave()
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		h.abandon()
		if v != http.ErrAbortHandler {
			h.gate.log.Error("handler panicked on a request that nobody waits for",
				zap.String("transaction", h.entry.ID), zap.Any("panic", v))
		}
		e.err = refuse(ProblemOutcomeUnknown, outcomeUnknown, errAbandoned)
	}()
	err := work()
	if err == nil {
		return
	}
	e.err = h.conclude(asRefusal(err))
}

// asRefusal returns the refusal that err is, or one for it.
func asRefusal(err error) *Refusal {
	var f *Refusal
	if errors.As(err, &f) {
		return f
	}
	return refuse(ProblemUnavailable, "Nothing was sent.", err)
}

// perform is the way of a transaction from its beginning.
func (h *hold) perform() error {
	tokens, err := h.approve()
	if err != nil {
		return err
	}
	return h.dispatch(tokens)
}

// dispatch sends an approved request: at once, or when its browser has come for
// the answer.
func (h *hold) dispatch(tokens *ciba.Tokens) error {
	if h.mode != ModeRedirect {
		return h.deliver(tokens)
	}
	rest := continueTime
	if !tokens.ExpiresAt.IsZero() {
		rest = min(rest, time.Until(tokens.ExpiresAt))
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case h.errand.ready <- handover{h, tokens}:
		<-h.errand.returned
		return nil
	case <-h.waiting.Done():
		f := h.interrupted(context.Cause(h.waiting))
		if !h.parked(f) {
			h.revoke(tokens)
		}
		return f
	case <-timer.C:
		h.revoke(tokens)
		return refuse(ProblemCallerGone, "Nothing was sent. The page was closed before the approved request was sent.", errNobodyCame)
	}
}

var errNobodyCame = errors.New("nobody came for the answer to an approved request")

// deliver sends the request by the handler that it came to, or by a way back to
// its route where that is gone.
func (h *hold) deliver(tokens *ciba.Tokens) error {
	if h.next != nil {
		return h.send(tokens)
	}
	return h.reenter(tokens)
}

// arrivalKey is the context key of a kept request that comes back to its route.
type arrivalKey struct{}

// arrival is a kept request on its way back to its route.
type arrival struct {
	hold    *hold
	tokens  *ciba.Tokens
	lock    *lock
	arrived bool
	err     error
}

var errLost = errors.New("kept request did not come back to its gate; the routes or the caller's credential have changed")

// reenter sends a kept request whose handler is gone through the routes of the
// server once more. Nothing is sent unless it comes to this gate, which takes it
// on from there.
func (h *hold) reenter(tokens *ciba.Tokens) error {
	if h.gate.reenter == nil {
		h.revoke(tokens)
		return refuse(ProblemMisconfigured, "Nothing was sent. The request could not be taken up after a restart.", errLost)
	}
	ctx, lock := newLock(context.WithoutCancel(h.caller), h.gate.ahead)
	a := &arrival{hold: h, tokens: tokens, lock: lock}
	err := h.gate.reenter(context.WithValue(ctx, arrivalKey{}, a), h.w, h.kept.Origin)
	if a.arrived {
		return a.err
	}
	h.revoke(tokens)
	return refuse(ProblemMisconfigured, "Nothing was sent. The request could not be taken up after a restart.", errors.Join(errLost, err))
}

// arrive sends the request that has come back.
func (a *arrival) arrive(g *Gate, w http.ResponseWriter, r *http.Request, rt *Route, next Next) error {
	h := a.hold
	if a.arrived || h.gate != g {
		return refuse(ProblemMisconfigured, "Nothing was sent.", errLost)
	}
	a.arrived = true
	a.lock.unlock()
	a.err = h.resend(w, r, rt, next, a.tokens)
	return nil
}

func (h *hold) resend(w http.ResponseWriter, r *http.Request, rt *Route, next Next, tokens *ciba.Tokens) error {
	h.w, h.r, h.next = w, r, next
	route := rt.withDefaults()
	h.route = route
	// The headers that the gate sets may be others by now, and belong to nobody
	// else.
	snapshot := *h.snapshot
	snapshot.restore(r)
	err := Clean(r, route.OwnHeaders()...)
	if err != nil {
		h.revoke(tokens)
		return err
	}
	snapshot.header = r.Header.Clone()
	h.snapshot = &snapshot
	return h.send(tokens)
}

// attend answers the caller whose request has become an errand.
func (h *hold) attend(e *errand, id string) error {
	select {
	case <-e.asked:
	case <-e.done:
	case <-h.caller.Done():
		return nil // it goes on, and nobody is there to be told
	}
	p := preferences(h.r.Header)
	if h.mode == ModeAsync && p.waits && p.wait > 0 {
		timer := time.NewTimer(min(p.wait, h.route.Hold+h.route.UpstreamTimeout))
		defer timer.Stop()
		select {
		case <-e.done:
		case <-timer.C:
		case <-h.caller.Done():
			return nil
		}
	}
	select {
	case <-e.done:
		if e.err != nil {
			return e.err
		}
		err := h.replay(id, nil)
		if err == nil {
			return nil
		}
		// The upstream has answered, and its status says so where the answer itself
		// cannot be had.
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, errNotKept) {
			h.gate.log.Warn("kept answer could not be read", zap.String("transaction", id), zap.Error(err))
		}
	default:
	}
	if h.mode == ModeRedirect {
		return goesOn(h.goWait(id))
	}
	return goesOn(h.accepted(id, p))
}

// goesOn corrects a refusal by which a caller is not told where its request is: the
// request has its way before it, or behind it, all the same.
func goesOn(err error) error {
	if err == nil {
		return nil
	}
	f := asRefusal(err)
	f.Detail = "The request goes on, and where to look for it could not be said. Find out before you repeat it."
	f.Forwarded, f.RetryAfter = ForwardedUnknown, 0
	return f
}

// statusPath is where the caller finds the transaction. Its error is a *Refusal.
func (h *hold) statusPath(id string) (string, error) {
	path, err := h.gate.vault.statusPath(h.caller, id)
	if err != nil {
		return "", storeRefusal(fmt.Errorf("naming transaction: %w", err))
	}
	return path, nil
}
