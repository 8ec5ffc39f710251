package stepup

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// answer is the writer for what is behind the gate. It passes the upstream's
// answer on as it comes (headers, 1xx, body, flushes, trailers), and
//
//   - holds back what a proxy says in the place of an upstream that gave no
//     answer: what to say then is ours to decide;
//   - hides from the proxy that the caller has gone, so that the upstream's work
//     is not broken off half way.
//
// It is used by one goroutine, as writers are; 1xx may come from another one
// before.
type answer struct {
	w      http.ResponseWriter
	guard  *guard
	ctx    context.Context // of the request to the upstream
	header func()          // called before the final header goes out

	before  http.Header // headers as they were before anybody wrote
	status  int         // final status passed on, 0 before
	held    bool        // a final header was held back
	lost    bool        // the caller takes no more
	length  int64       // of the body as announced, negative if it was not
	written int64       // bytes of the body that came, passed on or not
	noBody  bool        // the answer is to a HEAD request
}

// Unwrap lets http.ResponseController reach what this writer does not do.
func (a *answer) Unwrap() http.ResponseWriter { return a.w }

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 || a.held {
		return
	}
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		a.w.WriteHeader(status)
		return
	}
	if !a.genuine() {
		a.held = true
		return
	}
	a.status = status
	a.length = a.announced()
	a.header()
	a.w.WriteHeader(status)
}

// genuine reports whether the answer that begins is the upstream's. A transport
// that is traced and has not seen a byte of an answer got none, and a handler
// whose context we have ended speaks for itself.
func (a *answer) genuine() bool {
	seen := a.guard.seen()
	switch {
	case seen.stopped:
		return false
	case seen.tried:
		return seen.answered
	default:
		return a.ctx.Err() == nil
	}
}

// Write implements http.ResponseWriter. It fails only for what the handler is to
// blame for; a caller that has gone is not its affair.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 && !a.held {
		a.WriteHeader(http.StatusOK)
	}
	if a.held {
		return len(p), nil
	}
	a.written += int64(len(p))
	if a.lost {
		return len(p), nil
	}
	n, err := a.w.Write(p)
	if errors.Is(err, http.ErrBodyNotAllowed) || errors.Is(err, http.ErrContentLength) {
		return n, err
	}
	if err != nil {
		a.lost = true
	}
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom. It goes through Write, which tells the
// errors of the two sides from each other.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{a}, r)
}

// FlushError implements what http.ResponseController looks for.
func (a *answer) FlushError() error {
	if a.status == 0 && !a.held {
		a.WriteHeader(http.StatusOK)
	}
	if a.held || a.lost {
		return nil
	}
	err := http.NewResponseController(a.w).Flush()
	if errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if err != nil {
		a.lost = true
	}
	return nil
}

// Flush implements http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() }

// rewind takes back the headers that a handler has set and not sent.
func (a *answer) rewind() {
	h := a.w.Header()
	clear(h)
	maps.Copy(h, a.before)
}

// announced returns the length that the body must have, or a negative number.
func (a *answer) announced() int64 {
	if a.noBody || a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		return -1
	}
	length, err := strconv.ParseInt(a.Header().Get("Content-Length"), 10, 64)
	if err != nil {
		return -1
	}
	return length
}

// truncated reports whether the body that came is not as long as was announced.
func (a *answer) truncated() bool { return a.length >= 0 && a.length != a.written }

// extendWriteDeadline moves the end of the time that the server gives an answer
// by d from now. A server with a write timeout counts from the request's start,
// and would cut a held answer off (HTTP/1.1: unseen; HTTP/2: as if the caller
// had left). Servers without one, and writers that know no deadlines, need
// nothing.
func (h *hold) extendWriteDeadline(d time.Duration) {
	server, ok := h.caller.Value(http.ServerContextKey).(*http.Server)
	if !ok || server.WriteTimeout <= 0 {
		return
	}
	_ = http.NewResponseController(h.w).SetWriteDeadline(time.Now().Add(d + server.WriteTimeout))
}
