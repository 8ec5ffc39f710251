package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// Errors that the Go interface of this package returns, possibly wrapped. Any
// other error means that the store or the user store could not do its work.
var (
	// ErrNotFound says that there is no such request for this subject.
	ErrNotFound = errors.New("authentication request not found")

	// ErrDecided says that the request was decided or cancelled before. The
	// first decision stands.
	ErrDecided = errors.New("authentication request was decided before")

	// ErrExpired says that the request expired before it was decided.
	ErrExpired = errors.New("authentication request has expired")

	// ErrScope says that an approval names scopes that were not asked for, or
	// leaves out required ones.
	ErrScope = errors.New("approved scopes do not fit the request")

	// ErrACR says that the request demands an authentication context class
	// that the approval does not have.
	ErrACR = errors.New("authentication is too weak for the request")

	// ErrMatchMissing says that the user must type the number that the client shows,
	// and that the approval has none of two digits. ErrMatchWrong says that it has
	// another one: the request is still pending. ErrMatchDenied says that it was
	// wrong once too often, and that the request is denied now.
	ErrMatchMissing = errors.New("approval has no match code of two digits")
	ErrMatchWrong   = errors.New("approval has a wrong match code")
	ErrMatchDenied  = errors.New("request is denied for too many wrong match codes")

	// ErrCursor says that a place in the history does not exist.
	ErrCursor = errors.New("not a cursor of the history")

	// ErrUserNotFound is returned by a [UserStore] for an unknown user, and by
	// Approve for one that is disabled.
	ErrUserNotFound = errors.New("user not found")

	// ErrClientDisabled says that the client of the request was disabled or
	// removed since it was made.
	ErrClientDisabled = errors.New("client is disabled")
)

// Error codes of RFC 6749, RFC 6750, RFC 8707, RFC 9396 and CIBA Core 1.0.
const (
	codeInvalidRequest        = "invalid_request"
	codeInvalidClient         = "invalid_client"
	codeInvalidGrant          = "invalid_grant"
	codeInvalidScope          = "invalid_scope"
	codeInvalidTarget         = "invalid_target"
	codeInvalidToken          = "invalid_token"
	codeInvalidDPoPProof      = "invalid_dpop_proof"
	codeInvalidDetails        = "invalid_authorization_details"
	codeInvalidBindingMessage = "invalid_binding_message"
	codeInsufficientScope     = "insufficient_scope"
	codeUnauthorizedClient    = "unauthorized_client"
	codeUnsupportedGrantType  = "unsupported_grant_type"
	codeUnsupportedResponse   = "unsupported_response_type"
	codeUnknownUserID         = "unknown_user_id"
	codeExpiredLoginHintToken = "expired_login_hint_token"
	codeMissingUserCode       = "missing_user_code"
	codeInvalidUserCode       = "invalid_user_code"
	codeAccessDenied          = "access_denied"
	codeExpiredToken          = "expired_token"
	codeTransactionFailed     = "transaction_failed"
	codePending               = "authorization_pending"
	codeUseDPoPNonce          = "use_dpop_nonce"
	codeSlowDown              = "slow_down"
	codeTooManyRequests       = "temporarily_unavailable"
	codeUnavailable           = "temporarily_unavailable"
	codeServerError           = "server_error"
)

// oauthError is every answer of this package that is not a success. It has what
// the client sees, and a cause that only the log sees.
type oauthError struct {
	status      int
	code        string // empty: no error document, only the status and headers
	description string // printable ASCII without quotes and backslashes
	retryAfter  time.Duration
	challenge   string // value of WWW-Authenticate
	allow       string // value of Allow
	cause       error
}

// Error implements error.
func (e *oauthError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.code, e.description, e.cause)
	}
	return e.code + ": " + e.description
}

// Unwrap returns the cause.
func (e *oauthError) Unwrap() error { return e.cause }

// because returns a copy of e with a cause for the log.
func (e *oauthError) because(cause error) *oauthError {
	clone := *e
	clone.cause = cause
	return &clone
}

// refuse returns an error with status 400.
func refuse(code, description string) *oauthError {
	return &oauthError{status: http.StatusBadRequest, code: code, description: description}
}

// badRequest returns invalid_request with status 400.
func badRequest(description string) *oauthError {
	return refuse(codeInvalidRequest, description)
}

// unavailable says that something that we depend on does not answer now.
func unavailable(cause error) *oauthError {
	return &oauthError{
		status:      http.StatusServiceUnavailable,
		code:        codeUnavailable,
		description: "The service can not answer now. Try again later.",
		retryAfter:  5 * time.Second,
		cause:       cause,
	}
}

// document returns the body of RFC 6749 section 5.2. Nothing in it needs an escape:
// codes are constants of this package, and descriptions are of the characters that the
// section allows.
func (e *oauthError) document() []byte {
	body := make([]byte, 0, len(`{"error":"","error_description":""}`)+len(e.code)+len(e.description))
	body = append(body, `{"error":"`...)
	body = append(body, e.code...)
	if e.description != "" {
		body = append(body, `","error_description":"`...)
		body = append(body, e.description...)
	}
	return append(body, `"}`...)
}

// renderError writes err as the answer and its cause to the log. It is the only
// place where an error becomes bytes for a client. An error of another type has
// not been foreseen; the client learns nothing of it.
func (p *Provider) renderError(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*oauthError](err)
	if !ok {
		e = &oauthError{
			status:      http.StatusInternalServerError,
			code:        codeServerError,
			description: "The service made a mistake.",
			cause:       err,
		}
	}
	if hungUp(r, err) {
		p.log.Debug("the client has gone before its answer", zap.String("path", r.URL.Path), zap.Error(e.cause))
		w.WriteHeader(statusClientGone)
		return
	}
	p.logError(r, e)
	h := w.Header()
	noStore(h)
	if e.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retryAfter.Seconds()))))
	}
	if e.challenge != "" {
		h.Set("WWW-Authenticate", e.challenge)
	}
	if e.allow != "" {
		h.Set("Allow", e.allow)
	}
	if e.code == "" {
		w.WriteHeader(e.status)
		return
	}
	writeBody(w, e.status, e.document())
}

// statusClientGone is the status of an answer that nobody gets. It is none of HTTP's:
// Caddy and nginx write it into access logs, where it is no fault of the server.
const statusClientGone = 499

// hungUp reports whether a request has failed because its client has gone.
func hungUp(r *http.Request, err error) bool {
	return r.Context().Err() != nil && errors.Is(err, context.Canceled)
}

// logError writes faults of ours as errors and refusals as debug lines.
func (p *Provider) logError(r *http.Request, e *oauthError) {
	level := zap.DebugLevel
	if e.status >= http.StatusInternalServerError {
		level = zap.ErrorLevel
	}
	entry := p.log.Check(level, "request refused")
	if entry == nil {
		return
	}
	entry.Write(
		zap.String("path", r.URL.Path),
		zap.Int("status", e.status),
		zap.String("code", e.code),
		zap.String("description", e.description),
		zap.Error(e.cause),
	)
}

// noStore sets the headers of every answer that must not be kept.
func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// writeJSON answers with 200 and v.
func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding answer: %w", err)
	}
	noStore(w.Header())
	writeBody(w, http.StatusOK, body)
	return nil
}

// writeBody writes a JSON body. An error means that the client has gone, which
// concerns nobody here.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
