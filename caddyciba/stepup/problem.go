package stepup

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// typePrefix starts the type URI of every problem. A URN promises no web page
// that nobody serves, and stays the same whoever hosts the project.
const typePrefix = "urn:caddyciba:problem:"

// Problem names one kind of refusal. Its string is the last part of the type
// member, as in urn:caddyciba:problem:approval-denied.
type Problem string

// The problems, with the status that each one has. See problems for the titles.
const (
	ProblemTarget              Problem = "noncanonical-target"       // 400
	ProblemMethod              Problem = "noncanonical-method"       // 400
	ProblemConnection          Problem = "bad-connection-header"     // 400
	ProblemOverride            Problem = "method-override"           // 400
	ProblemHeader              Problem = "ambiguous-header"          // 400
	ProblemUpgrade             Problem = "upgrade-not-allowed"       // 400
	ProblemBody                Problem = "body-incomplete"           // 400
	ProblemPreference          Problem = "preference-not-understood" // 400
	ProblemUnauthenticated     Problem = "authentication-required"   // 401
	ProblemDenied              Problem = "approval-denied"           // 403
	ProblemExpired             Problem = "approval-expired"          // 403
	ProblemApprovalUnavailable Problem = "approval-unavailable"      // 403
	ProblemMismatch            Problem = "approval-mismatch"         // 403
	ProblemCancelled           Problem = "transaction-cancelled"     // 403
	ProblemForm                Problem = "form-not-genuine"          // 403
	ProblemNoTransaction       Problem = "transaction-not-found"     // 404
	ProblemResultNotReady      Problem = "result-not-ready"          // 404
	ProblemMethodNotAllowed    Problem = "method-not-allowed"        // 405
	ProblemSlowBody            Problem = "body-too-slow"             // 408
	ProblemIdentical           Problem = "identical-request-pending" // 409
	ProblemInProgress          Problem = "duplicate-in-progress"     // 409
	ProblemAlreadySent         Problem = "already-sent"              // 409
	ProblemTooLate             Problem = "too-late-to-cancel"        // 409
	ProblemResultNotKept       Problem = "result-not-kept"           // 410
	ProblemTooLarge            Problem = "body-too-large"            // 413
	ProblemMediaType           Problem = "encoding-not-supported"    // 415
	ProblemExpectation         Problem = "expectation-not-supported" // 417
	ProblemNotReadable         Problem = "transaction-not-readable"  // 422
	ProblemKeyReused           Problem = "idempotency-key-reused"    // 422
	ProblemTooManyHeld         Problem = "too-many-held-for-caller"  // 429
	ProblemTooManyPrompts      Problem = "too-many-prompts"          // 429
	ProblemTooManyLooks        Problem = "looked-too-often"          // 429
	ProblemCallerGone          Problem = "caller-gone"               // 499, never seen by anybody
	ProblemMisconfigured       Problem = "gateway-misconfigured"     // 500
	ProblemUpstreamUnreachable Problem = "upstream-unreachable"      // 502
	ProblemOutcomeUnknown      Problem = "outcome-unknown"           // 502 or 504
	ProblemBusy                Problem = "too-many-held"             // 503
	ProblemUnavailable         Problem = "gateway-unavailable"       // 503
	ProblemProviderUnavailable Problem = "idp-unavailable"           // 503
)

// statusCallerGone is what nginx and Caddy log for a caller that has left.
const statusCallerGone = 499

// problems holds status and title of each problem. The title is the same for
// each occurrence, as RFC 9457 section 3.1.3 asks.
var problems = map[Problem]struct {
	status int
	title  string
}{
	ProblemTarget:              {http.StatusBadRequest, "The request target is not in its canonical form"},
	ProblemMethod:              {http.StatusBadRequest, "The request method is not in its canonical form"},
	ProblemConnection:          {http.StatusBadRequest, "The Connection header names a header that must reach the upstream"},
	ProblemOverride:            {http.StatusBadRequest, "The request asks to be taken for another one"},
	ProblemHeader:              {http.StatusBadRequest, "A header can be read in two ways"},
	ProblemUpgrade:             {http.StatusBadRequest, "The protocol cannot be changed on this route"},
	ProblemBody:                {http.StatusBadRequest, "The request body did not arrive in full"},
	ProblemUnauthenticated:     {http.StatusUnauthorized, "The caller is not known"},
	ProblemDenied:              {http.StatusForbidden, "The customer denied the request"},
	ProblemExpired:             {http.StatusForbidden, "The customer did not approve the request in time"},
	ProblemApprovalUnavailable: {http.StatusForbidden, "The request cannot be approved"},
	ProblemMismatch:            {http.StatusForbidden, "The approval is not for this request"},
	ProblemCancelled:           {http.StatusForbidden, "The transaction was cancelled"},
	ProblemForm:                {http.StatusForbidden, "The form was not posted by its page"},
	ProblemNoTransaction:       {http.StatusNotFound, "There is no such transaction"},
	ProblemResultNotReady:      {http.StatusNotFound, "There is no answer yet"},
	ProblemMethodNotAllowed:    {http.StatusMethodNotAllowed, "The method is not allowed here"},
	ProblemTooLate:             {http.StatusConflict, "The transaction cannot be cancelled any more"},
	ProblemResultNotKept:       {http.StatusGone, "The answer is not kept"},
	ProblemPreference:          {http.StatusBadRequest, "A preference is not understood"},
	ProblemSlowBody:            {http.StatusRequestTimeout, "The request body did not arrive in time"},
	ProblemIdentical:           {http.StatusConflict, "The same request is waiting for approval already"},
	ProblemInProgress:          {http.StatusConflict, "The request with this Idempotency-Key is not finished"},
	ProblemAlreadySent:         {http.StatusConflict, "The request with this Idempotency-Key was sent already"},
	ProblemTooLarge:            {http.StatusRequestEntityTooLarge, "The request body is too large"},
	ProblemMediaType:           {http.StatusUnsupportedMediaType, "The request body is in a format that cannot be shown"},
	ProblemExpectation:         {http.StatusExpectationFailed, "The expectation cannot be met"},
	ProblemNotReadable:         {http.StatusUnprocessableEntity, "The transaction cannot be shown to the customer in full"},
	ProblemKeyReused:           {http.StatusUnprocessableEntity, "The Idempotency-Key belongs to another request"},
	ProblemTooManyHeld:         {http.StatusTooManyRequests, "The caller has too many requests waiting for approval"},
	ProblemTooManyPrompts:      {http.StatusTooManyRequests, "The customer cannot be asked this often"},
	ProblemTooManyLooks:        {http.StatusTooManyRequests, "The transaction is looked at too often"},
	ProblemCallerGone:          {statusCallerGone, "The caller has left"},
	ProblemMisconfigured:       {http.StatusInternalServerError, "The gateway is not set up correctly"},
	ProblemUpstreamUnreachable: {http.StatusBadGateway, "The upstream cannot be reached"},
	ProblemOutcomeUnknown:      {http.StatusBadGateway, "The outcome of the request is not known"},
	ProblemBusy:                {http.StatusServiceUnavailable, "Too many requests are waiting for approval"},
	ProblemUnavailable:         {http.StatusServiceUnavailable, "The gateway cannot do its work now"},
	ProblemProviderUnavailable: {http.StatusServiceUnavailable, "Approvals cannot be asked for now"},
}

// Forwarded says whether the upstream has seen the request.
type Forwarded string

// The three answers. The zero value means ForwardedNo.
const (
	ForwardedNo      Forwarded = "no"
	ForwardedYes     Forwarded = "yes"
	ForwardedUnknown Forwarded = "unknown"
)

// MarshalJSON renders false, true or "unknown", as callers see it.
func (f Forwarded) MarshalJSON() ([]byte, error) {
	switch f {
	case ForwardedYes:
		return []byte("true"), nil
	case ForwardedUnknown:
		return []byte(`"unknown"`), nil
	case ForwardedNo, "":
		return []byte("false"), nil
	default:
		return nil, fmt.Errorf("marshaling forwarded: unknown value %q", string(f))
	}
}

// UnmarshalJSON reads what MarshalJSON writes, for programs that are callers.
func (f *Forwarded) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "false":
		*f = ForwardedNo
	case "true":
		*f = ForwardedYes
	case `"unknown"`:
		*f = ForwardedUnknown
	default:
		return errors.New("forwarded is neither false, true nor \"unknown\"")
	}
	return nil
}

// Refusal is the one error that leaves this package towards a caller: an answer
// of ours in place of the upstream's. It carries no secret and nothing that
// the caller has sent, so it may be shown and logged.
type Refusal struct {
	// Problem is the kind of refusal.
	Problem Problem

	// Status is the HTTP status code.
	Status int

	// Title says in one sentence what the kind means. It does not change from
	// one occurrence to the next.
	Title string

	// Detail says what is the matter this time and what the caller can do.
	Detail string

	// Transaction is the public id of the transaction, a UUID, or empty if the
	// request was refused before there was one.
	Transaction string

	// State is the transaction's state, or empty without a transaction.
	State State

	// Forwarded says whether the upstream has seen the request.
	Forwarded Forwarded

	// RetryAfter asks the caller to wait before the next try. Zero leaves the
	// header out.
	RetryAfter time.Duration

	// Location is the path at which the caller finds the transaction that is in the
	// way of its request, or empty.
	Location string

	// Allow lists the methods that are allowed, for method-not-allowed.
	Allow string

	// Limit is the number of bytes that the body may have, for body-too-large.
	Limit int64

	// Err is the cause. It is for logs and errors.Is, and never rendered.
	Err error

	// concluded says that the transaction has been ended for it already.
	concluded bool
}

// refuse makes a Refusal of the problem's kind. The detail is written by us:
// it must not contain anything from the request.
func refuse(p Problem, detail string, cause error) *Refusal {
	kind := problems[p]
	return &Refusal{
		Problem:   p,
		Status:    kind.status,
		Title:     kind.title,
		Detail:    detail,
		Forwarded: ForwardedNo,
		Err:       cause,
	}
}

// Error names the problem and its cause, for logs.
func (f *Refusal) Error() string {
	if f.Err == nil {
		return fmt.Sprintf("%s: %s", f.Problem, f.Detail)
	}
	return fmt.Sprintf("%s: %s: %v", f.Problem, f.Detail, f.Err)
}

// Unwrap returns the cause.
func (f *Refusal) Unwrap() error { return f.Err }

// Type returns the problem type URI of RFC 9457 section 3.1.1.
func (f *Refusal) Type() string { return typePrefix + string(f.Problem) }

// problemBody is the body of an answer, in the order in which people read it.
type problemBody struct {
	Type      string    `json:"type"`
	Title     string    `json:"title"`
	Status    int       `json:"status"`
	Detail    string    `json:"detail,omitempty"`
	Instance  string    `json:"instance,omitempty"`
	State     State     `json:"state,omitempty"`
	Forwarded Forwarded `json:"forwarded"`
	Limit     int64     `json:"limit,omitempty"`
}

// WriteProblem renders f: as a page for a person whose browser is going to show
// it, and as application/problem+json (RFC 9457) for everybody else. It is the
// only place that does. The answer is never stored by caches, and a HEAD request
// gets the headers alone. Errors of the connection are the server's to handle.
func WriteProblem(w http.ResponseWriter, r *http.Request, f *Refusal) {
	if IsNavigation(r) && writeProblemPage(w, r, f) {
		return
	}
	body := problemBody{
		Type:      f.Type(),
		Title:     f.Title,
		Status:    f.Status,
		Detail:    f.Detail,
		State:     f.State,
		Forwarded: f.Forwarded,
		Limit:     f.Limit,
	}
	if f.Transaction != "" {
		body.Instance = "urn:uuid:" + f.Transaction
	}
	text, err := json.Marshal(body)
	if err != nil {
		// Only a Forwarded that is none of the three can do this. The caller
		// must not take the answer for anything but an error.
		text = []byte(`{"status":500}`)
		f = refuse(ProblemMisconfigured, "", err)
	}
	text = append(text, '\n')

	SetProblemHeaders(w, r, f)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(f.Status)
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(text)
}

// SetProblemHeaders sets the headers that belong to f whatever renders its
// body: an adapter calls it before it lets the operator's own error pages speak.
func SetProblemHeaders(w http.ResponseWriter, r *http.Request, f *Refusal) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if f.Location != "" {
		h.Set("Location", f.Location)
	}
	if f.Allow != "" {
		h.Set("Allow", f.Allow)
	}
	if f.RetryAfter > 0 {
		seconds := int64((f.RetryAfter + time.Second - 1) / time.Second)
		h.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if f.Status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		// RFC 9110 section 11.6.1: a 401 names a scheme.
		h.Set("WWW-Authenticate", "Bearer")
	}
	unread := f.Problem == ProblemTooLarge || f.Problem == ProblemSlowBody || f.Problem == ProblemBody
	if unread && r.ProtoMajor == 1 {
		// The server would otherwise wait for the rest of the body before it
		// lets the answer out.
		h.Set("Connection", "close")
	}
}
