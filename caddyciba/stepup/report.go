package stepup

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
)

// report does for a route that is only tried out what Serve does up to the
// question, on a copy of the request, and lets the request go on as it came. Not
// even a body that is too large is in its way. Headers that only the gate may set
// are removed all the same, so that nobody can pretend to have been approved; the
// caller's own Authorization stays, with its proof.
func (g *Gate) report(w http.ResponseWriter, r *http.Request, rt *Route, next Next) error {
	peeked, err := peek(r, rt.MaxBody)
	copied := r.Clone(r.Context())
	copied.Body = io.NopCloser(io.MultiReader(bytes.NewReader(peeked), failing{err}))
	h := &hold{
		gate: g, route: rt, w: discard{header: make(http.Header)}, r: copied,
		caller: r.Context(), waiting: r.Context(), arrived: g.now(),
	}
	g.observe(h.reported())
	for name := range r.Header {
		folded := foldHeader(name)
		own := slices.ContainsFunc(rt.OwnHeaders(), func(own string) bool { return foldHeader(own) == folded })
		if own && folded != foldHeader(defaultTokenHeader) && folded != foldHeader(proofHeader) {
			delete(r.Header, name)
		}
	}
	return next(w, r)
}

// peek reads the body, up to a byte more than it may have, and puts it back in
// front of the rest.
func peek(r *http.Request, maxBody int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	body := r.Body
	peeked, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	rest := io.Reader(body)
	if err != nil {
		rest = failing{err}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(peeked), rest), body}
	return peeked, err
}

// reported tries everything up to the question and says what came of it.
func (h *hold) reported() Event {
	defer func() {
		if h.place != nil {
			h.place.leave()
		}
	}()
	e := Event{Type: EventReported, Route: h.route.Name}
	err := h.receive()
	needed := false
	if err == nil {
		needed, err = h.needsApproval()
	}
	if err == nil && needed {
		err = h.question()
	}
	e.Time = h.gate.now()
	e.Held = e.Time.Sub(h.arrived)
	var f *Refusal
	switch {
	case errors.As(err, &f):
		e.Problem, e.Err = f.Problem, f
	case err != nil:
		e.Problem, e.Err = ProblemUnavailable, err
	case !needed:
		e.Type = EventPassed
	default:
		e.Question = &Question{
			Customer: Fingerprint(h.ask.Customer),
			Caller:   Fingerprint(h.ask.Caller),
			Message:  h.request.BindingMessage,
			Details:  h.details.list,
		}
	}
	return e
}

// failing is a reader that ends with an error, or at once without one.
type failing struct{ err error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// discard is a writer of answers that nobody gets.
type discard struct{ header http.Header }

// Header implements http.ResponseWriter.
func (d discard) Header() http.Header { return d.header }

// Write implements http.ResponseWriter.
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements http.ResponseWriter.
func (discard) WriteHeader(int) {}

// Interface guard
var _ http.ResponseWriter = discard{}
