package provider

import (
	"context"
	"errors"
	"time"
)

// errTurn says that what others are doing has not ended in time.
var errTurn = errors.New("waited too long for others who do the same")

// turns lets as many callers at once do something as it has room for. Unlike a
// mutex it can be waited for within bounds.
type turns chan struct{}

func newTurns(n int) turns { return make(turns, n) }

// try takes a turn if there is one just now.
func (t turns) try() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// take waits for a turn, until the context ends or the wait is over. It returns the
// error of the context, or errTurn.
func (t turns) take(ctx context.Context, wait time.Duration) error {
	if t.try() {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errTurn
	}
}

// done gives the turn back.
func (t turns) done() { <-t }
