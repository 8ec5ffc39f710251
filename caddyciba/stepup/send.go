package stepup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

const (
	// answerTime is how long an answer may take to stream before a process that
	// shares the store takes the sender for dead.
	answerTime = 10 * time.Minute

	// unreachableRetryAfter is when a caller may try again if no upstream could
	// be reached.
	unreachableRetryAfter = 5 * time.Second
)

var (
	errDigestChanged = errors.New("request to send is not the request that was approved")
	errTruncated     = errors.New("upstream's answer broke off")
	errNoAnswer      = errors.New("upstream gave no answer")
	errUnhandled     = errors.New("no handler behind the gate takes the request")
)

// send sends the approved request, once. Up to the write of state sending it can
// refuse and nothing was sent; from there on it finishes what it has begun,
// whether or not the caller is still there.
func (h *hold) send(tokens *ciba.Tokens) error {
	ctx, stop := newSendContext(h.r.Context(), h.caller, h.route.UpstreamTimeout)
	defer stop.end()
	out, err := h.outbound(ctx, tokens)
	if err != nil {
		h.revoke(tokens)
		return err
	}
	err = h.claimSending()
	if err != nil {
		h.revoke(tokens)
		return err
	}
	g := &guard{
		cancel: stop.cancel,
		long:   len(out.Method)+len(out.RequestURI)+len(out.Host) > smallestBuffer,
	}
	out = out.WithContext(httptrace.WithClientTrace(ctx, g.trace()))
	a := &answer{
		w:      h.w,
		guard:  g,
		ctx:    ctx,
		before: h.w.Header().Clone(),
		noBody: out.Method == http.MethodHead,
	}
	target := h.proofTarget()
	a.header = func() {
		h.learn(tokens, target, a.status, h.w.Header())
		stop.headerCame()
		h.extendWriteDeadline(0)
	}
	h.visit.sending()
	stop.start()
	err = h.call(a, out)
	err = h.record(a, err, context.Cause(ctx))
	if err == nil {
		h.remember(tokens)
	}
	var f *Refusal
	if errors.As(err, &f) && f.Forwarded == ForwardedNo {
		// The upstream has not got the token either.
		h.revoke(tokens)
	}
	return err
}

// outbound builds the request to the upstream: the snapshot, with what the
// operator has configured to be added. Headers with the token are on this
// request alone, and not on the one that loggers and templates know.
func (h *hold) outbound(ctx context.Context, tokens *ciba.Tokens) (*http.Request, error) {
	if h.snapshot.digest(h.ask.Caller, h.ask.Customer, h.route.DigestHeaders) != h.digest {
		return nil, h.mismatch(errDigestChanged)
	}
	h.snapshot.restore(h.r)
	out := h.r.WithContext(ctx)
	h.snapshot.restore(out)
	keepCoding(out)
	h.setHeaders(out.Header, &Approval{Transaction: h.entry.clone(), Claims: tokens.Claims})
	err := h.gate.setToken(ctx, h.route, tokens, out.Header, out.Method, h.proofTarget())
	if err != nil {
		return nil, proofRefusal(err)
	}
	return out, nil
}

// proofTarget is the URL of this request as its upstream knows it.
func (h *hold) proofTarget() string {
	return h.route.proofTarget(h.snapshot.scheme, h.snapshot.host, &h.snapshot.url)
}

// setHeaders sets what the operator has configured.
func (h *hold) setHeaders(header http.Header, approval *Approval) {
	if h.route.SetHeaders == nil {
		return
	}
	set := make(http.Header)
	h.route.SetHeaders(set, approval)
	for _, name := range h.route.Headers {
		values := set.Values(name)
		if len(values) > 0 {
			header[http.CanonicalHeaderKey(name)] = values
		}
	}
}

// keepCoding makes the upstream's answer arrive as it was sent. Without an
// Accept-Encoding, Go's transport asks for gzip by itself, unpacks the answer
// and drops the headers that go with it. There is no other way to tell it not
// to on a request: only a value keeps it from adding its own.
func keepCoding(out *http.Request) {
	if out.Method == http.MethodHead || out.Header.Get("Accept-Encoding") != "" || out.Header.Get("Range") != "" {
		return
	}
	out.Header.Set("Accept-Encoding", "identity")
}

// claimSending makes this attempt the one that sends. Only after it has returned
// nil may a byte go out.
func (h *hold) claimSending() error {
	err := h.present()
	if err != nil {
		return err
	}
	h.claim, err = newUUID(h.gate.journal.cfg.Rand)
	if err != nil {
		return storeRefusal(err)
	}
	deadline := h.gate.now().Add(h.route.UpstreamTimeout + answerTime).UTC()
	return h.move(StateSending, EventSent, func(t *Transaction) {
		t.Claim = h.claim
		t.Instance = h.gate.journal.cfg.Instance
		t.Deadline = deadline
	})
}

// errPanicked carries a handler's panic out of call.
type errPanicked struct{ value any }

func (e errPanicked) Error() string { return fmt.Sprintf("handler panicked: %v", e.value) }

// call runs the handler behind the gate and catches its panic: proxies panic
// when an answer breaks off.
func (h *hold) call(a *answer, out *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errPanicked{v}
		}
	}()
	return h.next(a, out)
}

// record writes down how it went and says it to the caller.
func (h *hold) record(a *answer, err, cause error) error {
	if a.status != 0 {
		return h.recordAnswer(a, err)
	}
	seen := a.guard.seen()
	if err == nil && !a.held && !seen.tried && cause == nil {
		if h.route.Unhandled != nil && h.route.Unhandled(h.r.Context()) {
			a.rewind()
			return refuse(ProblemMisconfigured, "Nothing was sent. The operator has to act.", errUnhandled)
		}
		// Handlers that write nothing answer 200, and were never on the network
		// as far as we know.
		a.WriteHeader(http.StatusOK)
		return h.recordAnswer(a, nil)
	}
	a.rewind()
	if err == nil {
		err = errNoAnswer
	}
	if cause != nil {
		err = errors.Join(cause, err)
	}
	var f *Refusal
	switch {
	case !seen.sent && (seen.tried || h.notSent(err)):
		f = refuse(ProblemUpstreamUnreachable, "Nothing was sent. The approval is used up; ask again.", err)
		f.RetryAfter = unreachableRetryAfter
	case errors.Is(cause, errUpstreamTimeout), timedOut(err):
		f = refuse(ProblemOutcomeUnknown, outcomeUnknown, err)
		f.Status = http.StatusGatewayTimeout
		f.Forwarded = ForwardedUnknown
	default:
		f = refuse(ProblemOutcomeUnknown, outcomeUnknown, err)
		f.Forwarded = ForwardedUnknown
	}
	var panicked errPanicked
	if errors.As(err, &panicked) && panicked.value != http.ErrAbortHandler {
		// A fault of a handler is not ours to hide. What it has left is written
		// down before.
		_ = h.conclude(f)
		panic(panicked.value)
	}
	return f
}

const outcomeUnknown = "The upstream may have carried out the request. Find out before you repeat it."

// timedOut reports whether an error of the handler is about time, for example
// about a proxy's own bound on how long an answer may take to begin.
func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// notSent reports whether an error of the handler proves that nothing went out.
func (h *hold) notSent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return true
	}
	return h.route.NotSent != nil && h.route.NotSent(err)
}

// recordAnswer ends a transaction whose answer has begun to go to the caller.
func (h *hold) recordAnswer(a *answer, err error) error {
	if err == nil && a.truncated() {
		err = errTruncated
	}
	if err == nil {
		h.answered(a.status)
		return nil
	}
	// The caller has a part of an answer. It must not take it for the whole.
	_ = h.conclude(refuse(ProblemOutcomeUnknown, outcomeUnknown, err))
	var panicked errPanicked
	if errors.As(err, &panicked) {
		panic(panicked.value)
	}
	panic(http.ErrAbortHandler)
}

// sendContext is the life of a request to the upstream. It has the values of the
// request's context and not its end: a caller that leaves must not break off a
// transfer half way. It ends by itself if the answer does not begin in time, or
// if, after the caller has left, it does not end in time.
type sendContext struct {
	cancel  context.CancelCauseFunc
	caller  context.Context
	timeout time.Duration

	mu      sync.Mutex
	timer   *time.Timer
	header  bool
	release func() bool
}

func newSendContext(values, caller context.Context, timeout time.Duration) (context.Context, *sendContext) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(values))
	return ctx, &sendContext{cancel: cancel, caller: caller, timeout: timeout}
}

// start begins to count.
func (s *sendContext) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(s.timeout, func() { s.cancel(errUpstreamTimeout) })
	s.release = context.AfterFunc(s.caller, s.callerLeft)
}

// headerCame takes the limit away for a caller that is there to read.
func (s *sendContext) headerCame() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header = true
	if s.caller.Err() != nil {
		s.timer.Reset(s.timeout)
		return
	}
	s.timer.Stop()
}

// callerLeft limits the time for the rest of an answer that nobody reads.
func (s *sendContext) callerLeft() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.header && s.timer != nil {
		s.timer.Reset(s.timeout)
	}
}

// end releases what the context holds.
func (s *sendContext) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.release != nil {
		s.release()
	}
	s.timer = nil
	s.cancel(nil)
}
