package stepup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// Outcome is what became of a transaction in doubt.
type Outcome string

// The outcomes that an operator can find out.
const (
	// OutcomeExecuted is a request that the upstream has carried out.
	OutcomeExecuted Outcome = "executed"

	// OutcomeNotExecuted is a request that the upstream has not carried out, so
	// that the caller may be told to ask again.
	OutcomeNotExecuted Outcome = "not_executed"
)

// maxNote is the length of an operator's note in bytes.
const maxNote = 1000

// Resolution is what an operator has found out about a transaction in doubt. It
// changes nothing else of the transaction: in_doubt is its end.
type Resolution struct {
	// Outcome says whether the upstream has carried the request out.
	Outcome Outcome `json:"outcome"`

	// Time is when it was written down.
	Time time.Time `json:"time"`

	// Note says how it was found out, in the operator's words. Optional.
	Note string `json:"note,omitempty"`
}

var (
	// ErrNotInDoubt says that a transaction is not in doubt, or not any more.
	ErrNotInDoubt = errors.New("transaction is not in doubt")

	// ErrTooLate says that a transaction has ended, or may have been sent, so that
	// it cannot be cancelled any more.
	ErrTooLate = errors.New("transaction has been sent or has ended")

	// ErrInvalidResolution says that a resolution has no outcome that there is, or
	// a note that is too long.
	ErrInvalidResolution = errors.New("resolution is not valid")
)

// resolvedState is the value of the index for transactions whose doubt has been
// resolved, so that those that wait for an operator are listed without them.
const resolvedState State = "resolved"

// Cancel ends a transaction of which nothing has been sent, by an operator's will.
// Nothing is sent after it has returned nil, whatever the customer decides. It
// changes what is written down and no more; Gate.Cancel also tells whoever waits. The
// error is ErrTooLate, store.ErrNotFound,
// or one of the store.
func (j *Journal) Cancel(ctx context.Context, id string) (*Transaction, error) {
	for {
		e, err := j.read(ctx, id)
		if err != nil {
			return nil, err
		}
		if !e.State.CanBecome(StateCancelled) {
			return e.Transaction, fmt.Errorf("cancelling in state %s: %w", e.State, ErrTooLate)
		}
		err = j.advance(ctx, e, StateCancelled, func(t *Transaction) { t.Problem = ProblemCancelled })
		if err == nil {
			return e.Transaction, nil
		}
		// Each turn finds the transaction nearer to its end.
		if !errors.Is(err, errMoved) {
			return nil, err
		}
	}
}

// Resolve writes down what became of a transaction in doubt. It can be done once.
// From then on the transaction is kept as long as others are. The error is
// ErrNotInDoubt, ErrInvalidResolution, store.ErrNotFound, or one of the store.
func (j *Journal) Resolve(ctx context.Context, id string, outcome Outcome, note string) (*Transaction, error) {
	if outcome != OutcomeExecuted && outcome != OutcomeNotExecuted {
		return nil, fmt.Errorf("outcome %q: %w", string(outcome), ErrInvalidResolution)
	}
	if len(note) > maxNote || textProblem(note) != nil {
		return nil, fmt.Errorf("note: %w", ErrInvalidResolution)
	}
	e, err := j.read(ctx, id)
	if err != nil {
		return nil, err
	}
	if e.State != StateInDoubt || e.Resolution != nil {
		return e.Transaction, ErrNotInDoubt
	}
	resolved := e.clone()
	resolved.Resolution = &Resolution{Outcome: outcome, Time: j.cfg.Now().UTC(), Note: note}
	r, err := j.record(resolved, e.version)
	if err != nil {
		return nil, err
	}
	ctx, cancel := storeContext(ctx)
	defer cancel()
	err = j.cfg.Store.Update(ctx, r)
	if errors.Is(err, store.ErrConflict) {
		return nil, ErrNotInDoubt
	}
	if err != nil {
		return nil, fmt.Errorf("writing resolution: %w", err)
	}
	return resolved, nil
}

// indexValue is under what a transaction is listed: its state, except for one that
// was in doubt and is not any more.
func (t *Transaction) indexValue() string {
	if t.Resolution != nil {
		return string(resolvedState)
	}
	return string(t.State)
}

// States returns what Journal.List can be asked for: every state, and "resolved"
// for transactions whose doubt an operator has resolved, which are not listed as
// in_doubt any more.
func States() []State {
	return []State{
		StateHeld, StateRequested, StateApproved, StateSending, StateAnswered,
		StateDenied, StateExpired, StateCancelled, StateFailed, StateInDoubt, resolvedState,
	}
}
