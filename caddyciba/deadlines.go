package caddyciba

import (
	"net/http"
	"time"
)

// A patientWriter lets a request wait for longer than the server gives a caller
// to send it. The server's read timeout is for a caller that sends; on HTTP/1.1
// it also ends the request of one that has sent all and now waits, as if it had
// left. So when the engine has read the body and takes its own read deadline
// back, the server's goes with it. Caddy's own writers would put it in again,
// and are passed over.
//
// The write timeout cannot be lifted in this way, since Caddy sets it anew with
// every write; a hold that is longer is refused with the configuration.
type patientWriter struct {
	http.ResponseWriter
}

// SetReadDeadline is found by http.ResponseController.
func (w *patientWriter) SetReadDeadline(deadline time.Time) error {
	control := http.NewResponseController(w.ResponseWriter)
	err := control.SetReadDeadline(deadline)
	if err != nil || !deadline.IsZero() {
		return err
	}
	return http.NewResponseController(connectionWriter(w.ResponseWriter)).SetReadDeadline(deadline)
}

// Unwrap lets http.ResponseController reach what this writer does not do.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// connectionWriter returns the writer at the bottom, which is net/http's.
func connectionWriter(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// withoutReadTimeout returns a writer for a request that may have to wait.
func withoutReadTimeout(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	patient := &patientWriter{ResponseWriter: w}
	if r.Body == nil || r.Body == http.NoBody {
		// There is nothing to read, so nobody takes a deadline back. Writers
		// that know no deadlines have none to lift.
		_ = patient.SetReadDeadline(time.Time{})
	}
	return patient
}
