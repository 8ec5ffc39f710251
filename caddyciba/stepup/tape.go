package stepup

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// tape writes down an answer while it passes it on, or instead of passing it on
// where nobody waits. It keeps final status, headers, body up to a bound, and
// trailers. One goroutine uses it, as writers are used; 1xx may come from another one before.
type tape struct {
	w   http.ResponseWriter // nil if nobody waits
	max int64

	header  http.Header // where w is nil
	status  int
	sent    http.Header // as they were when the body began
	body    []byte
	tooLong bool
	lost    bool // who waited takes no more
}

func newTape(w http.ResponseWriter, most int64) *tape {
	return &tape{w: w, max: most, header: make(http.Header)}
}

// Unwrap lets http.ResponseController reach a connection, where there is one.
func (t *tape) Unwrap() http.ResponseWriter {
	if t.w == nil {
		return nowhere{t.header}
	}
	return t.w
}

// nowhere is the writer behind a tape that nobody listens to. Controllers find
// that it can do nothing.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header       { return n.header }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// Header implements http.ResponseWriter.
func (t *tape) Header() http.Header {
	if t.w == nil {
		return t.header
	}
	return t.w.Header()
}

// WriteHeader implements http.ResponseWriter.
func (t *tape) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if t.status != 0 {
			return
		}
		t.status = status
		t.sent = t.Header().Clone()
	}
	if t.w != nil {
		t.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (t *tape) Write(p []byte) (int, error) {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	if t.w == nil && !bodyAllowed(t.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if t.w == nil || t.lost {
		t.record(p)
		return len(p), nil
	}
	n, err := t.w.Write(p)
	if errors.Is(err, http.ErrBodyNotAllowed) || errors.Is(err, http.ErrContentLength) {
		return n, err
	}
	// A caller that has gone may come back for the answer.
	t.lost = err != nil
	t.record(p)
	return len(p), nil
}

// record keeps a part of the body. An answer of which a part would be missing is
// not kept at all.
func (t *tape) record(p []byte) {
	if t.tooLong {
		return
	}
	if int64(len(t.body))+int64(len(p)) > t.max {
		t.tooLong, t.body = true, nil
		return
	}
	t.body = append(t.body, p...)
}

// FlushError implements what http.ResponseController looks for.
func (t *tape) FlushError() error {
	if t.w == nil || t.lost {
		return nil
	}
	return http.NewResponseController(t.w).Flush()
}

// Flush implements http.Flusher.
func (t *tape) Flush() { _ = t.FlushError() }

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// hopHeaders belong to one connection and mean nothing on another one.
var hopHeaders = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// result is what was written down.
func (t *tape) result() (keptResult, []byte) {
	k := keptResult{Status: t.status, Header: t.sent.Clone(), Trailer: t.trailer(), TooLong: t.tooLong}
	for name := range k.Trailer {
		k.Header.Del(name)
	}
	for _, name := range hopHeaders {
		k.Header.Del(name)
	}
	return k, t.body
}

// trailer is what was set behind the body: fields that were announced ahead of it,
// and those that say by http.TrailerPrefix what they are.
func (t *tape) trailer() http.Header {
	trailer := make(http.Header)
	for _, announced := range t.sent.Values("Trailer") {
		for name := range strings.SplitSeq(announced, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if values := t.Header()[name]; len(values) > 0 {
				trailer[name] = slices.Clone(values)
			}
		}
	}
	for name, values := range t.Header() {
		late, ok := strings.CutPrefix(name, http.TrailerPrefix)
		if ok {
			trailer[http.CanonicalHeaderKey(late)] = slices.Clone(values)
		}
	}
	return trailer
}

// errNotKept says that an answer was too long to be kept.
var errNotKept = errors.New("answer was too long to be kept")

// play writes a kept answer to w, with headers of ours added.
func play(w http.ResponseWriter, r *http.Request, k *keptResult, body []byte, extra http.Header) {
	h := w.Header()
	maps.Copy(h, k.Header.Clone())
	maps.Copy(h, extra)
	switch {
	case len(k.Trailer) > 0:
		// HTTP/1.1 has room for them only behind a body that is sent in chunks.
		h.Del("Content-Length")
		for _, name := range slices.Sorted(maps.Keys(k.Trailer)) {
			h.Add("Trailer", name)
		}
	case bodyAllowed(k.Status) && h.Get("Content-Length") == "" && r.Method != http.MethodHead:
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(k.Status)
	if r.Method == http.MethodHead || !bodyAllowed(k.Status) {
		return
	}
	_, _ = w.Write(body)
	maps.Copy(h, k.Trailer)
}
