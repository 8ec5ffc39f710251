package stepup

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func take(t *testing.T, r *http.Request) *Snapshot {
	t.Helper()
	s, err := takeSnapshot(httptest.NewRecorder(), r, defaultMaxBody, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// INV-2: whatever happens to the request afterwards, what is restored from the
// snapshot is what came.
func TestSnapshotDoesNotChange(t *testing.T) {
	r := httptest.NewRequest("POST", "http://api.example.com/p/a%20b?x=1", strings.NewReader(`{"amount":10}`))
	r.Header.Set("Content-Type", "application/json")
	s := take(t, r)
	before := s.digest("teller", "alice", nil)

	r.Method = "DELETE"
	r.Host = "evil.example"
	r.URL.Path = "/other"
	r.URL.RawQuery = "x=2"
	r.Header.Set("Content-Type", "text/plain")
	r.Header.Add("X-Evil", "1")
	r.ContentLength = 1
	r.TransferEncoding = []string{"chunked"}
	r.Trailer = http.Header{"X-Evil": {"1"}}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("evil")), nil }
	r.Form = url.Values{"x": {"2"}}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	clear(s.Header())
	shown, err := io.ReadAll(s.Body())
	if err != nil {
		t.Fatal(err)
	}
	clear(shown)

	s.restore(r)
	body, err = io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case r.Method != "POST", r.Host != "api.example.com", r.URL.RequestURI() != "/p/a%20b?x=1",
		r.Header.Get("Content-Type") != "application/json", r.Header.Get("X-Evil") != "",
		string(body) != `{"amount":10}`, r.ContentLength != 13, r.TransferEncoding != nil, r.Trailer != nil,
		r.GetBody != nil, r.Form != nil:
		t.Errorf("restored request is %+v with body %q", r, body)
	}
	if s.digest("teller", "alice", nil) != before {
		t.Error("digest has changed")
	}
}

// scribbler writes over what it is handed, as a careless reader might.
type scribbler struct{ seen bytes.Buffer }

func (s *scribbler) Write(p []byte) (int, error) {
	s.seen.Write(p)
	clear(p)
	return len(p), nil
}

// INV-2: a handler that changes the bytes that it reads changes its own.
func TestBodyIsCopiedOut(t *testing.T) {
	s := take(t, httptest.NewRequest("POST", "/p", strings.NewReader("body")))
	for range 2 {
		r := &http.Request{}
		s.restore(r)
		sink := &scribbler{}
		_, err := io.Copy(sink, r.Body)
		if err != nil || sink.seen.String() != "body" {
			t.Fatalf("body is %q, error %v", sink.seen.String(), err)
		}
	}
}

func TestSnapshotScheme(t *testing.T) {
	r := httptest.NewRequest("POST", "http://api.example.com/p", nil)
	r.Header.Set("X-Forwarded-Proto", "https")
	if s := take(t, r); s.Scheme() != "http" {
		t.Errorf("scheme is %s", s.Scheme())
	}
	r.TLS = &tls.ConnectionState{}
	if s := take(t, r); s.Scheme() != "https" {
		t.Errorf("scheme is %s", s.Scheme())
	}
}

func TestSnapshotOfEmptyBody(t *testing.T) {
	for name, body := range map[string]io.Reader{"none": nil, "NoBody": http.NoBody, "empty": strings.NewReader("")} {
		r := httptest.NewRequest("POST", "/p", body)
		s := take(t, r)
		if r.Body != http.NoBody || r.ContentLength != 0 || s.Size() != 0 {
			t.Errorf("%s: body %v, length %d", name, r.Body, r.ContentLength)
		}
	}
	r := httptest.NewRequest("GET", "/p", io.MultiReader()) // of unknown length
	if r.ContentLength != -1 {
		t.Fatalf("length is %d", r.ContentLength)
	}
	take(t, r)
	if r.Body != http.NoBody || r.ContentLength != 0 || r.Header.Get("Content-Length") != "" {
		t.Errorf("empty chunked body: %v, length %d", r.Body, r.ContentLength)
	}
}

// failingReader gives some bytes and then an error.
type failingReader struct {
	text string
	err  error
}

func (f *failingReader) Read(p []byte) (int, error) {
	if f.text == "" {
		return 0, f.err
	}
	n := copy(p, f.text)
	f.text = f.text[n:]
	return n, nil
}

// Threat G08: limits to the byte, and lengths that lie.
func TestBodyLimits(t *testing.T) {
	timeout := &net.OpError{Op: "read", Err: context.DeadlineExceeded}
	cases := []struct {
		name   string
		body   io.Reader
		length int64
		want   Problem
	}{
		{"at the limit", strings.NewReader("12345678"), 8, ""},
		{"at the limit, length unknown", strings.NewReader("12345678"), -1, ""},
		{"one over", strings.NewReader("123456789"), 9, ProblemTooLarge},
		{"one over, length unknown", strings.NewReader("123456789"), -1, ProblemTooLarge},
		{"one over, length lies", strings.NewReader("123456789"), 8, ProblemTooLarge},
		{"shorter than said", strings.NewReader("1234"), 8, ProblemBody},
		{"longer than said", strings.NewReader("1234"), 2, ProblemBody},
		{"not empty as said", strings.NewReader("1"), 0, ProblemBody},
		{"breaks off", &failingReader{"12", io.ErrUnexpectedEOF}, 4, ProblemBody},
		{"caller leaves", &failingReader{"12", context.Canceled}, 4, ProblemCallerGone},
		{"too slow", &failingReader{"12", fmt.Errorf("reading: %w", osTimeout{})}, 4, ProblemSlowBody},
		{"other failure", &failingReader{"12", timeout}, 4, ProblemBody},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/p", nil)
			r.Body = io.NopCloser(c.body)
			r.ContentLength = c.length
			_, err := takeSnapshot(httptest.NewRecorder(), r, 8, time.Minute)
			if got := problemOf(err); got != c.want {
				t.Errorf("problem is %q, want %q", got, c.want)
			}
			var f *Refusal
			if c.want == ProblemTooLarge && (!errors.As(err, &f) || f.Limit != 8) {
				t.Errorf("limit is not said: %v", err)
			}
		})
	}
}

// osTimeout is the error of a connection whose read deadline has passed.
type osTimeout struct{}

func (osTimeout) Error() string        { return "i/o timeout" }
func (osTimeout) Is(target error) bool { return target.Error() == "i/o timeout" }

// Threat G08: a body that trickles in ends at the deadline, over HTTP/1.1.
func TestSlowBody(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	b.route.BodyTimeout = 50 * time.Millisecond
	server := b.serve(t)
	status := rawExchange(t, server.Listener.Addr().String(), "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
	if status != http.StatusRequestTimeout || upstream.count() != 0 || b.client.asked() != 0 {
		t.Errorf("status %d, sent %d, asked %d", status, upstream.count(), b.client.asked())
	}
}

// INV-2: even if the stored bytes changed while the customer was deciding, by a
// fault in this process, nothing else than what was approved would be sent.
func TestChangeWhileWaiting(t *testing.T) {
	changes := map[string]func(*Snapshot){
		"body":   func(s *Snapshot) { s.body[0] = 'X' },
		"length": func(s *Snapshot) { s.body = s.body[:2] },
		"method": func(s *Snapshot) { s.method = "PUT" },
		"host":   func(s *Snapshot) { s.host = "evil.example" },
		"path":   func(s *Snapshot) { s.url.Path = "/other" },
		"query":  func(s *Snapshot) { s.url.RawQuery = "x=2" },
		"scheme": func(s *Snapshot) { s.scheme = "https" },
		"header": func(s *Snapshot) { s.header.Set("Content-Type", "text/plain") },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next)
			var kept *Snapshot
			b.route.Ask = func(_ context.Context, s *Snapshot, _ *Document) (Ask, error) {
				kept = s
				return Ask{Customer: "alice", Caller: "teller"}, nil
			}
			b.client.wait = func(context.Context) error { change(kept); return nil }
			b.do("POST", "http://bank.example/p?x=1", "body", nil)
			if f := b.lastRefusal(); upstream.count() != 0 || f == nil || f.Problem != ProblemMismatch || b.only(t).State != StateFailed || b.client.revocations() != 1 {
				t.Errorf("sent %d, refusal %+v", upstream.count(), f)
			}
		})
	}
}
