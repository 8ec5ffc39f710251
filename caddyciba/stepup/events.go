package stepup

import (
	"encoding/json"
	"time"
)

// EventType says what has happened to a request.
type EventType string

// The events. All but the last three belong to a transaction and follow the write
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

	// EventReused: an earlier approval covers the request, which goes on without a
	// question.
	EventReused EventType = "reused"

	// EventChallenged: the upstream has answered that the customer must approve the
	// request, which is being asked for now.
	EventChallenged EventType = "challenged"

	// EventPassed: the request needs no approval and went on as it came.
	EventPassed EventType = "passed"

	// EventReported: the route is only tried out, and the request went on as it
	// came. Problem says why it would have been refused, Question what would have
	// been asked otherwise.
	EventReported EventType = "reported"
)

// Event is what Config.Observe is told. It has no secret and, but for Question, no
// text from the request; Err is the gateway's own and may name hosts and operations.
type Event struct {
	// Type says what has happened, Time when.
	Type EventType
	Time time.Time

	// Route is the name of the route.
	Route string

	// Transaction is a copy of the transaction after the event. It is nil for
	// the last three types.
	Transaction *Transaction

	// Problem is set where a refusal came of it.
	Problem Problem

	// Question is what the customer would have been asked, for EventReported. Its
	// message has text from the request.
	Question *Question

	// Held is the time since the request came in.
	Held time.Duration

	// Err is the cause of a refusal, if there is one.
	Err error
}

// Question is what a route that is only tried out would have asked.
type Question struct {
	// Customer and Caller are fingerprints; see [Fingerprint].
	Customer string
	Caller   string

	// Message is the binding message.
	Message string

	// Details is the object of authorization details with the digest.
	Details json.RawMessage
}
