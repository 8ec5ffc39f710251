package ciba

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Codes that a provider answers with, from CIBA Core sections 11 and 13 and
// RFC 6749 section 5.2. A provider may answer with others; they arrive in
// [Error.Code] as they were sent.
const (
	CodeAuthorizationPending        = "authorization_pending"
	CodeSlowDown                    = "slow_down"
	CodeAccessDenied                = "access_denied"
	CodeExpiredToken                = "expired_token"
	CodeInvalidRequest              = "invalid_request"
	CodeInvalidClient               = "invalid_client"
	CodeInvalidGrant                = "invalid_grant"
	CodeInvalidScope                = "invalid_scope"
	CodeUnauthorizedClient          = "unauthorized_client"
	CodeUnknownUserID               = "unknown_user_id"
	CodeExpiredLoginHintToken       = "expired_login_hint_token"
	CodeMissingUserCode             = "missing_user_code"
	CodeInvalidUserCode             = "invalid_user_code"
	CodeInvalidBindingMessage       = "invalid_binding_message"
	CodeInvalidAuthorizationDetails = "invalid_authorization_details"
	CodeTransactionFailed           = "transaction_failed"

	// CodeInvalidTarget is from RFC 8707 section 2.
	CodeInvalidTarget = "invalid_target"

	// CodeInvalidDPoPProof is from RFC 9449 section 5.
	CodeInvalidDPoPProof = "invalid_dpop_proof"
)

// Codes of this package. No provider can forge them: an answer that carries one
// of them is treated as CodeInvalidResponse.
const (
	// CodeUnavailable means that the provider gave no usable answer for now: the
	// network failed, the answer took too long, or it was a 5xx or a 429.
	CodeUnavailable = "ciba_unavailable"

	// CodeInvalidResponse means that the provider answered, and that the answer
	// does not follow the protocol. Asking again is not expected to help.
	CodeInvalidResponse = "ciba_invalid_response"

	// CodeInvalidToken means that the token answer came with an ID Token which
	// failed verification. Nothing of that answer may be used.
	CodeInvalidToken = "ciba_invalid_token"

	// CodeMismatch means that the ID Token is genuine but does not satisfy the
	// caller's [Check]: another customer, a lesser acr, or an authentication
	// that is too old.
	CodeMismatch = "ciba_mismatch"

	// CodeUnsupported means that the provider's metadata does not offer what was
	// asked for, for example a revocation endpoint.
	CodeUnsupported = "ciba_unsupported"

	// CodeInvalidArgument means that the call was refused before any request was
	// made, because what the caller passed cannot be sent.
	CodeInvalidArgument = "ciba_invalid_argument"

	// CodeCanceled means that the caller's context ended. The error also matches
	// context.Canceled or context.DeadlineExceeded.
	CodeCanceled = "ciba_canceled"
)

// Error is the one error type of this package. Every method of [Client] that
// fails returns an *Error.
//
// Neither its text nor its fields are meant for the eyes of whoever waits for
// the approval. The text names the operation and the cause for a log;
// Description is whatever the provider chose to write. Callers are to be
// answered by the kind of failure, for which the predicates of this package are
// there.
type Error struct {
	// Op is what was being done: "discover", "keys", "start", "poll", "wait",
	// "revoke", "cancel", "ping", "push".
	Op string

	// Code is the provider's error code, or one of the Code constants of this
	// package.
	Code string

	// Description is the provider's error_description, cut to 200 characters and
	// reduced to the character set that RFC 6749 section 5.2 allows. It belongs
	// in a log at most: never show it to callers.
	Description string

	// Status is the HTTP status of the answer, or 0 where there was none.
	Status int

	// RetryAfter is how long the provider asks to be left alone, at most one
	// hour. Zero means that it did not say.
	RetryAfter time.Duration

	// Err is the cause, where there is one.
	Err error
}

// Error names the operation, the code, the status and the cause. It leaves the
// provider's description out.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("ciba: ")
	b.WriteString(e.Op)
	b.WriteString(": ")
	b.WriteString(e.Code)
	if e.Status != 0 {
		b.WriteString(" (status ")
		b.WriteString(strconv.Itoa(e.Status))
		b.WriteString(")")
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error {
	return e.Err
}

// Code returns the code of the *Error in err's tree, or "" if there is none.
func Code(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

// IsPending reports that the customer has not decided yet: the provider
// answered authorization_pending or slow_down.
func IsPending(err error) bool {
	return hasCode(err, CodeAuthorizationPending, CodeSlowDown)
}

// IsDenied reports that the customer, or a policy of the provider, said no.
func IsDenied(err error) bool {
	return hasCode(err, CodeAccessDenied)
}

// IsExpired reports that the request ran out of time, by the provider's word or
// by our own clock.
func IsExpired(err error) bool {
	return hasCode(err, CodeExpiredToken)
}

// IsTemporary reports that the provider could not be reached or is overloaded,
// so that the same call may succeed later.
func IsTemporary(err error) bool {
	return hasCode(err, CodeUnavailable)
}

// IsClientRefused reports that the provider does not accept this client: wrong
// credentials, or a client that is not registered for CIBA. An operator has to
// act.
func IsClientRefused(err error) bool {
	return hasCode(err, CodeInvalidClient, CodeUnauthorizedClient)
}

// IsUnknownUser reports that the provider knows no customer by the hint, or
// none that can be asked.
func IsUnknownUser(err error) bool {
	return hasCode(err, CodeUnknownUserID, CodeExpiredLoginHintToken)
}

// IsUserCode reports that the customer's user code is missing or wrong.
func IsUserCode(err error) bool {
	return hasCode(err, CodeMissingUserCode, CodeInvalidUserCode)
}

// IsInvalidAnswer reports that the provider answered against the protocol, or
// with an ID Token that does not verify.
func IsInvalidAnswer(err error) bool {
	return hasCode(err, CodeInvalidResponse, CodeInvalidToken)
}

// IsMismatch reports that a genuine ID Token does not satisfy the caller's
// [Check].
func IsMismatch(err error) bool {
	return hasCode(err, CodeMismatch)
}

// IsUnsupported reports that the provider does not offer what was asked for.
func IsUnsupported(err error) bool {
	return hasCode(err, CodeUnsupported)
}

func hasCode(err error, codes ...string) bool {
	code := Code(err)
	if code == "" {
		return false
	}
	for _, c := range codes {
		if c == code {
			return true
		}
	}
	return false
}

// invalidResponse makes the error for an answer that breaks the protocol.
func invalidResponse(op string, status int, format string, args ...any) *Error {
	return &Error{Op: op, Code: CodeInvalidResponse, Status: status, Err: fmt.Errorf(format, args...)}
}

// invalidArgument makes the error for a call that cannot be carried out.
func invalidArgument(op, format string, args ...any) *Error {
	return &Error{Op: op, Code: CodeInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// canceled makes the error for a context that has ended.
func canceled(ctx context.Context, op string) *Error {
	return &Error{Op: op, Code: CodeCanceled, Err: ctx.Err()}
}

// inOp gives an error of this package the name of the operation that it
// interrupted, so that a log shows what the caller had asked for.
func inOp(op string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Op: op, Code: CodeUnavailable, Err: err}
	}
	renamed := *e
	if renamed.Op != op {
		renamed.Op = op + ": " + e.Op
	}
	return &renamed
}

// printable reduces text from outside to the character set of RFC 6749 section
// 5.2 (%x20-21 / %x23-5B / %x5D-7E) and to max bytes, so that it can neither
// break a log line nor fill a log.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if isErrorText(r) {
			return r
		}
		return '?'
	}, s)
}

func isErrorText(r rune) bool {
	return r >= 0x20 && r <= 0x7e && r != '"' && r != '\\'
}
