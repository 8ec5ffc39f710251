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

	// Answered are transactions that a dead process left in state sending, of
	// which it had written down the upstream's answer.
	Answered []string

	// Orphans are kept transactions whose process is dead and which another one can
	// go on with; see Gate.TakeUp.
	Orphans []string
}

// Recover ends the transactions that dead processes have left: those that were
// being sent become in_doubt, the others failed. Those that are kept and can go
// on are left and named. It is called at start, and may be called at any time and
// by several processes at once.
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
	alive := make(map[string]bool)
	for _, state := range openStates {
		after := ""
		for {
			page, err := j.List(ctx, state, after, recoveryPage)
			if err != nil {
				return found, errors.Join(append(failures, err)...)
			}
			for _, t := range page {
				after = t.ID
				orphan, err := j.isOrphan(ctx, t, exclusive, alive)
				if err != nil {
					failures = append(failures, fmt.Errorf("recovering %s: %w", t.ID, err))
					continue
				}
				if orphan {
					found.Orphans = append(found.Orphans, t.ID)
					continue
				}
				if !j.isDead(t, exclusive) {
					continue
				}
				err = j.bury(ctx, t.ID, state, found)
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

// isOrphan reports whether a kept transaction, of which nothing was sent, has
// lost its process and still has time. Which processes are alive is looked up once.
func (j *Journal) isOrphan(ctx context.Context, t *Transaction, exclusive bool, alive map[string]bool) (bool, error) {
	if !t.Kept || t.State != StateRequested && t.State != StateApproved {
		return false, nil
	}
	if j.cfg.Now().After(t.Deadline) {
		return false, nil
	}
	if t.Instance == j.cfg.Instance {
		return j.cfg.Alive != nil && !j.cfg.Alive(t.ID), nil
	}
	if exclusive {
		return true, nil
	}
	lives, known := alive[t.Instance]
	if known {
		return !lives, nil
	}
	lives, err := j.lives(ctx, t.Instance)
	if err != nil {
		return false, err
	}
	alive[t.Instance] = lives
	return !lives, nil
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
	status, answered := 0, false
	if seen == StateSending {
		end = StateInDoubt
		if e.Kept && j.cfg.answered != nil {
			status, answered = j.cfg.answered(ctx, id)
		}
	}
	if answered {
		end = StateAnswered
	}
	err = j.advance(ctx, e, end, func(t *Transaction) {
		switch end {
		case StateAnswered:
			t.Status = status
		case StateInDoubt:
			t.Problem = ProblemOutcomeUnknown
		default:
			t.Problem = ProblemUnavailable
		}
	})
	if errors.Is(err, errMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	if e.Kept && j.cfg.over != nil {
		j.cfg.over(ctx, id)
	}
	switch end {
	case StateAnswered:
		found.Answered = append(found.Answered, id)
	case StateInDoubt:
		found.InDoubt = append(found.InDoubt, id)
	default:
		found.Failed = append(found.Failed, id)
	}
	return nil
}
