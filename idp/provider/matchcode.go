package provider

import (
	"crypto/subtle"
	"time"
)

const (
	// matchDigits is how many digits a match code has.
	matchDigits = 2

	// maxWrongMatches is how many wrong match codes deny a request. Whoever guesses
	// one of a hundred three times has tried to approve what they do not see.
	maxWrongMatches = 3
)

// reasonMismatch is why a request was denied of which its user did not know the
// match code.
const reasonMismatch = "match_code"

// readMatchCode checks the extension parameter match_code: two digits that the
// client shows where the request was made, and that the user must type to approve.
// They prove that the user has the other screen before their eyes, and approves that
// request and no other.
func (p *Provider) readMatchCode(value string) (string, error) {
	if p.cfg.NoMatchCode {
		return "", nil
	}
	if value != "" && !isMatchCode(value) {
		return "", badRequest("match_code must be two digits.")
	}
	return value, nil
}

// isMatchCode reports whether s is written as a match code: in ASCII digits and
// nothing else (threats U08).
func isMatchCode(s string) bool {
	if len(s) != matchDigits {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// judgeMatch compares what the user has typed with the match code of the request. It
// returns no verdict if the approval may go on.
func (h *heldRequest) judgeMatch(typed string) (*verdict, error) {
	if h.MatchCode == "" {
		return nil, nil
	}
	if !isMatchCode(typed) {
		return nil, ErrMatchMissing
	}
	if subtle.ConstantTimeCompare([]byte(typed), []byte(h.MatchCode)) == 1 {
		return nil, nil
	}
	if h.WrongMatches+1 < maxWrongMatches {
		return &verdict{
			to: StatePending, change: func(r *requestRecord) { r.WrongMatches++ }, err: ErrMatchWrong,
		}, nil
	}
	return &verdict{
		to: StateDenied, change: func(r *requestRecord) { r.WrongMatches++ }, err: ErrMatchDenied, reason: reasonMismatch,
	}, nil
}

// verdict is what a decision comes to.
type verdict struct {
	// to is the state that follows. StatePending means that nothing is decided,
	// and only something noted.
	to State

	// change sets what goes with the state.
	change func(*requestRecord)

	// err is what the caller learns when it is written down, and reason what goes
	// to the event.
	err    error
	reason string
}

// apply changes the record.
func (v *verdict) apply(r *requestRecord, now time.Time) {
	if v.to != StatePending {
		r.Decided = now.UnixMilli()
	}
	if v.change != nil {
		v.change(r)
	}
}
