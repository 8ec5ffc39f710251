package notice

import (
	"context"
	"errors"
	"time"
)

// ErrNoAddress says that a channel has no way to reach this customer, such as an
// e-mail address. It is no failure, and the channel is not tried again.
var ErrNoAddress = errors.New("the customer has no address there")

// errBusy says that a channel has as much to do as it may have at a time.
var errBusy = errors.New("too many notifications are being sent")

// permanentError is an error that no further attempt cures.
type permanentError struct{ error }

// Unwrap returns the error as it was before [Permanent].
func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error as one that no further attempt cures, such as a
// password that is refused. It returns nil for nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent reports whether the error, or one that it wraps, was marked by
// [Permanent].
func IsPermanent(err error) bool {
	var permanent permanentError
	return errors.As(err, &permanent)
}

// Notice is what customers are notified of.
type Notice struct {
	// Request is the public id of the request that waits. There is one
	// notification for each request.
	Request string

	// Subject is the customer who is asked.
	Subject string

	// Expires is when the request, and with it the notification, is void.
	Expires time.Time
}

// Channel is one way to reach customers.
type Channel struct {
	// Key names the channel in the store and in reports. It is the same on all
	// nodes and after a restart.
	Key string

	// Send makes one attempt. It returns nil once the message was handed over,
	// [ErrNoAddress], an error marked by [Permanent], or any other error to be
	// called again later. It must return when the context ends.
	Send func(ctx context.Context) error
}

// Round is what a notification is tried over.
type Round struct {
	// Channels are tried in this order.
	Channels []Channel

	// UntilReached stops at the first channel that succeeds. Otherwise all of
	// them are used, each begun without waiting for the one before.
	UntilReached bool
}

// Outcome is how an attempt has ended.
type Outcome string

// Outcomes.
const (
	// Sent: the message was handed over.
	Sent Outcome = "sent"

	// Skipped: the customer cannot be reached over this channel.
	Skipped Outcome = "skipped"

	// Retried: the attempt failed, and there will be another one.
	Retried Outcome = "retried"

	// Failed: the attempt failed, and there will be none after it.
	Failed Outcome = "failed"
)

// Report tells of one attempt over one channel.
type Report struct {
	Notice  Notice
	Channel string // the key
	Attempt int    // 1 for the first one
	Outcome Outcome
	Err     error // nil if it was sent
}
