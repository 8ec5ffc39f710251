package stepup

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// recoveryPage is how many transactions are read at once.
	recoveryPage = 100

	// recoveryMargin is added to deadlines before a process that shares the
	// store counts as dead, for clocks that differ and stores that are slow.
	recoveryMargin = time.Minute
)

// Recovered counts what Recover has found.
type Recovered struct {
	// InDoubt are transactions that a dead process left in state sending. The
	// upstream may have carried them out. They are not sent again.
	InDoubt []string

	// Failed are transactions that a dead process left in an earlier state. The
	// upstream has seen nothing of them.
	Failed []string
}

// Recover ends the transactions that dead processes have left: those that were
// being sent become in_doubt, the others failed. It is called at start, and may
// be called at any time and by several processes at once.
//
// Exclusive says that no other process uses the store (a bbolt file, a memory
// store): then everything that bears another instance's name is dead. Without
// it, only what is a minute past its deadline counts as dead.
//
// Recover goes on after a transaction that it cannot end, and returns the
// errors joined.
func (j *Journal) Recover(ctx context.Context, exclusive bool) (*Recovered, error) {
	found := &Recovered{}
	var failures []error
	for _, state := range openStates {
		after := ""
		for {
			page, err := j.List(ctx, state, after, recoveryPage)
			if err != nil {
				return found, errors.Join(append(failures, err)...)
			}
			for _, t := range page {
				after = t.ID
				if !j.isDead(t, exclusive) {
					continue
				}
				err := j.bury(ctx, t.ID, state, found)
				if err != nil {
					failures = append(failures, fmt.Errorf("recovering %s: %w", t.ID, err))
				}
			}
			if len(page) < recoveryPage {
				break
			}
		}
	}
	return found, errors.Join(failures...)
}

func (j *Journal) isDead(t *Transaction, exclusive bool) bool {
	if exclusive && t.Instance != j.cfg.Instance {
		return true
	}
	if t.Instance == j.cfg.Instance && j.cfg.Alive != nil && j.cfg.Alive(t.ID) {
		return false
	}
	return j.cfg.Now().After(t.Deadline.Add(recoveryMargin))
}

// bury ends one transaction of a dead process, if it is still where it was seen.
func (j *Journal) bury(ctx context.Context, id string, seen State, found *Recovered) error {
	e, err := j.read(ctx, id)
	if err != nil {
		return err
	}
	if e.State != seen {
		// Somebody has moved it on, so somebody is alive.
		return nil
	}
	end := StateFailed
	if seen == StateSending {
		end = StateInDoubt
	}
	err = j.advance(ctx, e, end, func(t *Transaction) {
		t.Problem = ProblemUnavailable
		if end == StateInDoubt {
			t.Problem = ProblemOutcomeUnknown
		}
	})
	if errors.Is(err, errMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	if end == StateInDoubt {
		found.InDoubt = append(found.InDoubt, id)
	} else {
		found.Failed = append(found.Failed, id)
	}
	return nil
}
