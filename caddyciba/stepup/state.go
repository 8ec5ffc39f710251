package stepup

// State is where a transaction is. Each edge between two states is one
// conditional write in the store, made before the act that it permits.
//
//	held ──▶ requested ──▶ approved ──▶ sending ──▶ answered
//
// with the ends denied, expired, cancelled, failed and in_doubt. Before sending,
// the upstream has seen nothing, whatever happens to this process.
type State string

// The states. In the parentheses: the act that the edge into the state permits.
const (
	// StateHeld is a request that was read and is waiting (nothing yet).
	StateHeld State = "held"

	// StateRequested is a transaction that the customer is asked about (the
	// authentication request to the provider).
	StateRequested State = "requested"

	// StateApproved is a transaction for which a checked answer of the provider
	// is at hand (nothing yet).
	StateApproved State = "approved"

	// StateSending is a transaction that the upstream may have seen (the first
	// byte to the upstream). A process that dies here leaves it in doubt.
	StateSending State = "sending"

	// StateAnswered is the end of a transaction to which the upstream gave an
	// answer, whatever its status.
	StateAnswered State = "answered"

	// StateDenied is the end of a transaction that the customer denied.
	StateDenied State = "denied"

	// StateExpired is the end of a transaction that was not approved in time.
	StateExpired State = "expired"

	// StateCancelled is the end of a transaction that its caller has left or
	// an operator has stopped, before anything was sent.
	StateCancelled State = "cancelled"

	// StateFailed is the end of a transaction of which the upstream has seen
	// nothing, because something on the way did not work.
	StateFailed State = "failed"

	// StateInDoubt is the end of a transaction that the upstream may have
	// carried out, which nobody here can say. It is never sent again.
	StateInDoubt State = "in_doubt"
)

// edges are the legal moves. An end has none: it is absorbing (INV-9).
var edges = map[State][]State{
	StateHeld:      {StateRequested, StateCancelled, StateFailed},
	StateRequested: {StateApproved, StateDenied, StateExpired, StateCancelled, StateFailed},
	StateApproved:  {StateSending, StateCancelled, StateFailed},
	StateSending:   {StateAnswered, StateInDoubt, StateFailed},
	StateAnswered:  {},
	StateDenied:    {},
	StateExpired:   {},
	StateCancelled: {},
	StateFailed:    {},
	StateInDoubt:   {},
}

// CanBecome reports whether a transaction may move from s to next. The edge
// from sending to failed is for the case that not one byte was written.
func (s State) CanBecome(next State) bool {
	for _, legal := range edges[s] {
		if legal == next {
			return true
		}
	}
	return false
}

// Final reports whether s is an end.
func (s State) Final() bool {
	next, known := edges[s]
	return known && len(next) == 0
}

// openStates are those that a process can leave behind when it dies.
var openStates = []State{StateHeld, StateRequested, StateApproved, StateSending}
