package caddyciba

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

var (
	holdOnly = []stepup.Mode{stepup.ModeHold}
	keptOnly = []stepup.Mode{stepup.ModeAsync, stepup.ModeRedirect}

	theirOwn   = map[string]string{"Content-Type": mortalType, "X-Legacy": "1", "Retry-After": "7", "Idempotency-Replayed": absent}
	final      = map[string]string{"Retry-After": absent, "WWW-Authenticate": absent, "X-Legacy": absent}
	again      = map[string]string{"Retry-After": present, "X-Legacy": absent}
	replayed   = map[string]string{"Content-Type": mortalType, "Idempotency-Replayed": "true"}
	where      = map[string]string{"Location": present, "Retry-After": absent}
	whereAgain = map[string]string{"Location": present, "Retry-After": present}
)

// at is a request without a body to the path.
func at(path string) outcomeRequest { return outcomeRequest{target: path} }

// shown is a request whose body is shown to the customer.
func shown(body string) outcomeRequest {
	return outcomeRequest{target: "/shown/book", body: body, header: http.Header{"Content-Type": {"application/json"}}}
}

// outcomeCases are all cases.
func outcomeCases() []outcomeCase {
	return slices.Concat(decisionCases(), upstreamCases(), duplicateCases(), refusalCases(), deskCases(), leavingCases())
}

// decisionCases are those that customer and provider decide.
func decisionCases() []outcomeCase {
	return []outcomeCase{
		{row: rowDenied, name: "denied", customer: denier, request: at("/p/book"),
			status: 403, problem: stepup.ProblemDenied, forwarded: false, header: final},
		{row: rowDenied, name: "expired at the provider", customer: "expirer", request: at("/p/book"),
			status: 403, problem: stepup.ProblemExpired, forwarded: false, header: final},
		{row: rowDenied, name: "hold over", customer: sleeper, request: at("/short/book"),
			status: 403, problem: stepup.ProblemExpired, forwarded: false, header: final},
		{row: rowNoCustomer, name: "unknown", customer: stranger, request: at("/p/book"),
			status: 403, problem: stepup.ProblemApprovalUnavailable, forwarded: false, header: final},
		{row: rowNoCustomer, name: "not enrolled", customer: "unenrolled", request: at("/p/book"),
			status: 403, problem: stepup.ProblemApprovalUnavailable, forwarded: false, header: final},
		{row: rowNoIdentity, name: "anonymous", request: at("/anonymous/book"),
			status: 401, problem: stepup.ProblemUnauthenticated, forwarded: false, header: map[string]string{"WWW-Authenticate": present, "Retry-After": absent}},
		{row: rowMismatch, name: "sub", customer: impostor, request: at("/p/book"),
			status: 403, problem: stepup.ProblemMismatch, forwarded: false, header: final},
		{row: rowMismatch, name: "acr", customer: weak, request: at("/p/book"),
			status: 403, problem: stepup.ProblemMismatch, forwarded: false, header: final},
		{row: rowMismatch, name: "audience", customer: "audience", request: at("/p/book"),
			status: 403, problem: stepup.ProblemMismatch, forwarded: false, header: final},
		{row: rowMismatch, name: "digest", customer: changed, request: at("/p/book"),
			status: 403, problem: stepup.ProblemMismatch, forwarded: false, header: final},
		{row: rowProviderDown, name: "down", customer: approver, request: at("/down/book"),
			status: 503, problem: stepup.ProblemProviderUnavailable, forwarded: false, header: again},
		{row: rowProviderDown, name: "broken", customer: failing, request: at("/p/book"),
			status: 503, problem: stepup.ProblemProviderUnavailable, forwarded: false, header: again},
		{row: rowClientRefused, name: "unauthorized_client", customer: approver, request: at("/locked/book"),
			status: 500, problem: stepup.ProblemMisconfigured, forwarded: false, header: final},
	}
}

// upstreamCases are those that the upstream decides.
func upstreamCases() []outcomeCase {
	return []outcomeCase{
		{row: rowAnswered, name: "201", customer: approver, request: at("/p/book"), status: 201, header: theirOwn, sent: 1},
		{row: rowAnswered, name: "its own 403", customer: approver, request: at("/p/refuse"), status: 403, header: theirOwn, sent: 1},
		{row: rowAnswered, name: "its own 503", customer: approver, request: at("/p/fail"), status: 503, header: theirOwn, sent: 1},
		{row: rowAnswered, name: "GET", customer: approver, request: outcomeRequest{method: "GET", target: "/p/book"}, status: 201, header: theirOwn, sent: 1},
		{row: rowAnswered, name: "DELETE", customer: approver, request: outcomeRequest{method: "DELETE", target: "/p/book"}, status: 201, header: theirOwn, sent: 1},
		{row: rowAnswered, name: "body shown", customer: approver, request: shown(`{"amount":"1"}`), status: 201, header: theirOwn, sent: 1},
		{row: rowUnreachable, name: "refused", customer: approver, request: at("/gone/book"), modes: []stepup.Mode{stepup.ModeHold, stepup.ModeRedirect},
			status: 502, problem: stepup.ProblemUpstreamUnreachable, forwarded: false, header: again},
		// If it is over before its 202 goes out, the answer is that of hold mode; what is
		// looked at later has no Retry-After, as it does not change.
		{row: rowUnreachable, name: "refused", customer: approver, request: at("/gone/book"), modes: []stepup.Mode{stepup.ModeAsync},
			status: 502, problem: stepup.ProblemUpstreamUnreachable, forwarded: false, header: map[string]string{"X-Legacy": absent}},
		{row: rowUnknown, name: "failed", customer: approver, request: at("/p/reset"),
			status: 502, problem: stepup.ProblemOutcomeUnknown, forwarded: "unknown", header: final, sent: 1},
		{row: rowUnknown, name: "timed out", customer: approver, request: at("/slow/hang"),
			status: 504, problem: stepup.ProblemOutcomeUnknown, forwarded: "unknown", header: final, sent: 1},
		{row: rowUnknown, name: "the answer breaks off", customer: approver, request: at("/p/break"), modes: []stepup.Mode{stepup.ModeAsync},
			status: 502, problem: stepup.ProblemOutcomeUnknown, forwarded: "unknown", header: final, sent: 1},
		{row: rowOther, name: "nobody behind the gate", customer: approver, request: at("/nobody/book"),
			status: 500, problem: stepup.ProblemMisconfigured, forwarded: false, header: map[string]string{"X-Ours": absent, "Retry-After": absent}},
	}
}

// duplicateCases are those of requests that are there already.
func duplicateCases() []outcomeCase {
	// twice sends a request, and then it once more, perhaps changed.
	twice := func(change func(outcomeRequest) outcomeRequest) func(*outcomePlay) answer {
		return func(p *outcomePlay) answer {
			keyed := p.request.with("Idempotency-Key", "key-"+p.number)
			first := p.do(p.ctx, p.client, keyed)
			if first.err != nil || first.header.Get("Idempotency-Replayed") != "" {
				return first
			}
			if change != nil {
				keyed = change(keyed)
			}
			return p.send(keyed)
		}
	}
	return []outcomeCase{
		{row: rowDuplicate, name: "identical, without key", customer: late, request: at("/p/book"), play: identical,
			status: 409, problem: stepup.ProblemIdentical, forwarded: false, header: where, sent: 1},
		{row: rowDuplicate, name: "same key, joins", customer: late, request: at("/p/book"), play: joins, modes: holdOnly,
			status: 201, header: replayed, sent: 1},
		{row: rowDuplicate, name: "same key, for the same browser only", customer: late, request: at("/p/book"), play: besideBrowser, modes: holdOnly,
			status: 409, problem: stepup.ProblemInProgress, forwarded: false, header: whereAgain},
		{row: rowDuplicate, name: "same key, done", customer: approver, request: at("/p/book"), play: twice(nil),
			status: 201, header: replayed, sent: 1},
		{row: rowDuplicate, name: "same key, outcome unknown", customer: approver, request: at("/p/reset"), play: twice(nil),
			status: 409, problem: stepup.ProblemAlreadySent, forwarded: "unknown", header: final, sent: 1},
		{row: rowDuplicate, name: "same key, other body", customer: approver, request: at("/p/book"),
			play:   twice(func(r outcomeRequest) outcomeRequest { r.body = "other"; return r }),
			status: 422, problem: stepup.ProblemKeyReused, forwarded: false, header: final, sent: 1},
	}
}

// refusalCases are those of requests about which nobody is asked.
func refusalCases() []outcomeCase {
	refused := func(row outcomeRow, name string, problem stepup.Problem, status int, r outcomeRequest) outcomeCase {
		return outcomeCase{row: row, name: name, customer: approver, request: r, status: status, problem: problem, forwarded: false, header: final}
	}
	only := func(protocol string, c outcomeCase) outcomeCase {
		c.protocol = protocol
		return c
	}
	by := func(play func(*outcomePlay) answer, c outcomeCase) outcomeCase {
		c.play, c.modes = play, holdOnly
		return c
	}
	headers := func(pairs ...string) outcomeRequest {
		return outcomeRequest{target: "/p/book", header: http.Header{}}.with(pairs...)
	}
	limited := refused(rowLimits, "prompts", stepup.ProblemTooManyPrompts, 429, at("/few/book"))
	limited.header, limited.play, limited.sent = again, oneTooMany, 1
	return []outcomeCase{
		limited,
		refused(rowBody, "too large", stepup.ProblemTooLarge, 413, shown(`{"amount":"1"}`+strings.Repeat(" ", 1024))),
		refused(rowBody, "unreadable", stepup.ProblemNotReadable, 422, shown("amount=1")),
		refused(rowBody, "a field twice", stepup.ProblemNotReadable, 422, shown(`{"amount":"1","amount":"2"}`)),
		refused(rowBody, "not shown in full", stepup.ProblemNotReadable, 422, shown(`{"amount":"`+strings.Repeat("9", 200)+`"}`)),
		refused(rowBody, "in a content coding", stepup.ProblemMediaType, 415, shown(`{"amount":"1"}`).with("Content-Encoding", "gzip")),
		only("h1", by(partOfBody(false), refused(rowBody, "incomplete", stepup.ProblemBody, 400, at("/p/book")))),
		only("h1", by(partOfBody(true), refused(rowBody, "too slow", stepup.ProblemSlowBody, 408, at("/p/book")))),
		refused(rowOther, "target", stepup.ProblemTarget, 400, at("/p//book")),
		refused(rowOther, "method", stepup.ProblemMethod, 400, outcomeRequest{method: "post", target: "/p/book"}),
		refused(rowOther, "method override", stepup.ProblemOverride, 400, headers("X-Http-Method-Override", "PUT")),
		refused(rowOther, "two keys", stepup.ProblemHeader, 400, headers("Idempotency-Key", "a", "Idempotency-Key", "b")),
		only("h1", refused(rowOther, "Connection", stepup.ProblemConnection, 400, headers("Connection", "Authorization"))),
		only("h1", refused(rowOther, "Upgrade", stepup.ProblemUpgrade, 400, headers("Connection", "Upgrade", "Upgrade", "websocket"))),
		only("h2", refused(rowOther, "Expect", stepup.ProblemExpectation, 417, headers("Expect", "foo"))),
	}
}

// deskCases are those of callers that look at a transaction of theirs.
func deskCases() []outcomeCase {
	desk := func(name string, problem stepup.Problem, status int, header map[string]string, play func(*outcomePlay) answer) outcomeCase {
		return outcomeCase{name: name, modes: keptOnly, customer: late, request: at("/p/book"),
			status: status, problem: problem, forwarded: false, header: header, play: play}
	}
	cancelled := desk("cancelled", stepup.ProblemCancelled, 403, final, cancelledOne)
	tooLate := desk("cancelled too late", stepup.ProblemTooLate, 409, final, cancelledLate)
	tooLate.forwarded, tooLate.sent = true, 1
	form := desk("form of another site", stepup.ProblemForm, 403, final, looks(http.MethodPost, "/cancel"))
	form.modes = []stepup.Mode{stepup.ModeRedirect}
	unkept := desk("answer too long to keep", stepup.ProblemResultNotKept, 410, final, nil)
	unkept.request, unkept.customer, unkept.modes = at("/unkept/book"), approver, []stepup.Mode{stepup.ModeAsync}
	unkept.forwarded, unkept.sent = true, 1
	waited := unkept
	waited.name, waited.request = "answer too long to keep, waited for", unkept.request.with("Prefer", "wait=10")
	return []outcomeCase{
		cancelled, tooLate, unkept, waited, form,
		desk("result too early", stepup.ProblemResultNotReady, 404, again, looks(http.MethodGet, "/result")),
		desk("method", stepup.ProblemMethodNotAllowed, 405, map[string]string{"Allow": present}, looks(http.MethodPut, "")),
		desk("preference", stepup.ProblemPreference, 400, final, looks(http.MethodGet, "", "Prefer", "wait=soon")),
		desk("another address", stepup.ProblemNoTransaction, 404, final, looks(http.MethodGet, "x")),
		desk("looks too often", stepup.ProblemTooManyLooks, 429, again, looksTooOften),
	}
}

// leavingCases are those of callers that hang up while the customer is being asked.
func leavingCases() []outcomeCase {
	return []outcomeCase{
		// Nobody is there to be told, so the journal is looked at.
		{row: rowHangsUp, name: "without key", customer: late, request: at("/p/book"), modes: holdOnly, play: hangsUp},
		{row: rowHangsUp, name: "with key", customer: late, request: at("/p/book"), modes: holdOnly, play: hangsUpWithKey,
			status: 201, header: replayed, sent: 1},
		{row: rowHangsUp, name: "and comes back", customer: late, request: at("/p/book"), modes: keptOnly, play: comesBack,
			status: 201, header: theirOwn, sent: 1},
	}
}
