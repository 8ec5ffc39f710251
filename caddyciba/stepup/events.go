package stepup

import "time"

// EventType says what has happened to a request.
type EventType string

// The events. All but EventRefused belong to a transaction and follow the write
// of the state that they are named after.
const (
	// EventRequested: the customer is being asked.
	EventRequested EventType = "requested"

	// EventApproved: a checked answer of the provider is at hand.
	EventApproved EventType = "approved"

	// EventDenied: the customer said no.
	EventDenied EventType = "denied"

	// EventExpired: nobody approved in time.
	EventExpired EventType = "expired"

	// EventCancelled: the caller left, or an operator stopped the transaction.
	EventCancelled EventType = "cancelled"

	// EventFailed: something did not work, and the upstream has seen nothing.
	EventFailed EventType = "failed"

	// EventSent: the request is going to the upstream.
	EventSent EventType = "sent"

	// EventAnswered: the upstream has answered.
	EventAnswered EventType = "answered"

	// EventInDoubt: the upstream may have carried out the request and nobody
	// here can say. An operator should look.
	EventInDoubt EventType = "in_doubt"

	// EventRefused: the request was refused before there was a transaction.
	EventRefused EventType = "refused"
)

// Event is what Config.Observe is told. It has no secret and no text from the
// request; Err is the gateway's own and may name hosts and operations.
type Event struct {
	// Type says what has happened, Time when.
	Type EventType
	Time time.Time

	// Route is the name of the route.
	Route string

	// Transaction is a copy of the transaction after the event. It is nil for
	// EventRefused.
	Transaction *Transaction

	// Problem is set where a refusal came of it.
	Problem Problem

	// Held is the time since the request came in.
	Held time.Duration

	// Err is the cause of a refusal, if there is one.
	Err error
}
