package stepup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// repetition is what becomes of a request that is there already: it joins the
// first one, gets its stored answer, or is told where to find it.
func (h *hold) repetition(err error) error {
	var f *Refusal
	if !errors.As(err, &f) || f.Transaction == "" {
		return err
	}
	switch f.Problem {
	case ProblemAlreadySent:
		return h.replayFor(f)
	case ProblemInProgress:
		return h.join(f)
	case ProblemIdentical:
		return h.point(f)
	default:
		return err
	}
}

// replayFor answers with what the upstream has answered the first time.
func (h *hold) replayFor(f *Refusal) error {
	err := h.replay(f.Transaction, http.Header{"Idempotency-Replayed": {"true"}})
	if err == nil {
		return nil
	}
	if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, errNotKept) {
		h.gate.log.Warn("kept answer could not be read", zap.String("transaction", f.Transaction), zap.Error(err))
	}
	return f
}

// replay answers with the kept answer of a transaction.
func (h *hold) replay(id string, extra http.Header) error {
	k, body, err := h.gate.cabinet.result(h.caller, id)
	if err != nil {
		return err
	}
	if k.TooLong {
		return errNotKept
	}
	play(h.w, h.r, k, body, extra)
	return nil
}

// join waits for the end of the first request in the place of its caller, who
// may have lost the connection. A caller that would rather not wait, and a
// browser, are sent to where they can see what becomes of it.
func (h *hold) join(f *Refusal) error {
	t, err := h.firstOf(f.Transaction)
	if err != nil || !t.Kept {
		return h.point(f)
	}
	switch h.mode {
	case ModeAsync:
		return h.accepted(t.ID, preferences(h.r.Header))
	case ModeRedirect:
		return h.point(f)
	}
	if t.Mode == ModeRedirect {
		return h.point(f) // it is sent only for its browser
	}
	h.extendWriteDeadline(h.route.Hold + h.route.UpstreamTimeout)
	ctx, cancel := context.WithTimeoutCause(h.waiting, h.route.Hold+h.route.UpstreamTimeout, errHoldOver)
	defer cancel()
	t, err = h.gate.journal.awaitChange(ctx, t.ID, func(t *Transaction) bool { return t.State.Final() })
	switch {
	case h.caller.Err() != nil:
		return refuse(ProblemCallerGone, "Nothing was sent.", h.caller.Err())
	case h.waiting.Err() != nil:
		return drained(context.Cause(h.waiting))
	case err != nil:
		return h.point(f)
	case t.State == StateAnswered:
		done := duplicate(t, true, true)
		return h.replayFor(done)
	default:
		return endOf(t)
	}
}

// firstOf returns the transaction of the first request. It may not be written yet.
func (h *hold) firstOf(id string) (*Transaction, error) {
	changes, stop := h.gate.cabinet.store.Watch(recordKind, id)
	defer stop()
	ctx, cancel := context.WithTimeout(h.waiting, storeTimeout)
	defer cancel()
	for {
		t, err := h.gate.journal.Get(ctx, id)
		if !errors.Is(err, store.ErrNotFound) {
			return t, err
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// endOf is the refusal with which a transaction has ended.
func endOf(t *Transaction) *Refusal {
	detail := "Nothing was sent."
	if t.Forwarded() == ForwardedUnknown {
		detail = outcomeUnknown
	}
	problem := t.Problem
	_, known := problems[problem]
	if !known {
		problem = ProblemUnavailable
	}
	f := refuse(problem, detail, nil)
	if t.TimedOut {
		f.Status = http.StatusGatewayTimeout
	}
	f.Transaction, f.State, f.Forwarded = t.ID, t.State, t.Forwarded()
	return f
}

// point tells a caller where the transaction is that is in the way of its
// request. A browser whose user is signed in goes there at once.
func (h *hold) point(f *Refusal) error {
	path, err := h.statusPath(f.Transaction)
	if err != nil {
		return err
	}
	f.Location = path
	if h.mode != ModeRedirect || h.ask.Anonymous {
		return f
	}
	t, err := h.gate.journal.Get(h.caller, f.Transaction)
	if err != nil || t.Mode != ModeRedirect || t.State.Final() {
		return f
	}
	return h.goWait(t.ID)
}

// awaitChange returns the transaction once done is true of it. Where the error
// is that ctx has ended, the transaction is there, too.
func (j *Journal) awaitChange(ctx context.Context, id string, done func(*Transaction) bool) (*Transaction, error) {
	changes, stop := j.cfg.Store.Watch(recordKind, id)
	defer stop()
	again := time.NewTicker(watchAgain)
	defer again.Stop()
	for {
		t, err := j.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if done(t) {
			return t, nil
		}
		select {
		case <-ctx.Done():
			return t, fmt.Errorf("waiting for transaction: %w", context.Cause(ctx))
		case <-changes:
		case <-again.C:
		}
	}
}
