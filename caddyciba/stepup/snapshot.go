package stepup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Snapshot is a request as it arrived and as it will be sent: method, scheme,
// authority, raw target, headers and the whole body. It does not change after
// it was taken, whatever is done to the request that it was taken from or to
// what its methods return. It is safe for concurrent use.
type Snapshot struct {
	method     string
	scheme     string
	host       string
	requestURI string
	url        url.URL
	header     http.Header
	body       []byte
}

// Method returns the request method, for example POST.
func (s *Snapshot) Method() string { return s.method }

// Scheme returns https if the caller's connection to this server is encrypted
// and http otherwise. Forwarded headers have no say in it.
func (s *Snapshot) Scheme() string { return s.scheme }

// Host returns the authority of the request in lower case, with its port if it
// has one.
func (s *Snapshot) Host() string { return strings.ToLower(s.host) }

// Target returns the path and query that will be sent, escaped as the caller
// has escaped them.
func (s *Snapshot) Target() string { return s.url.RequestURI() }

// Path returns the path of the target without escapes.
func (s *Snapshot) Path() string { return s.url.Path }

// Header returns a copy of the request's headers after [Clean].
func (s *Snapshot) Header() http.Header { return s.header.Clone() }

// Body returns a reader of the body.
func (s *Snapshot) Body() io.Reader { return bytes.NewReader(s.body) }

// Size returns the length of the body in bytes.
func (s *Snapshot) Size() int64 { return int64(len(s.body)) }

// digestHeaders are the headers, in lower case, that change what a back end
// makes of a body. They are bound to the approval.
var digestHeaders = []string{
	"content-encoding",
	"content-language",
	"content-type",
	"idempotency-key",
	"if-match",
	"if-none-match",
	"if-modified-since",
	"if-unmodified-since",
	"soapaction",
}

// digest binds the snapshot to its caller and customer, with further headers by
// name, for a route whose back end heeds them.
func (s *Snapshot) digest(caller, customer string, headers []string) Digest {
	b := bound{
		method:   s.method,
		scheme:   s.scheme,
		host:     s.Host(),
		target:   s.Target(),
		header:   make(map[string][]string),
		body:     s.body,
		caller:   caller,
		customer: customer,
	}
	for _, name := range slices.Concat(digestHeaders, headers) {
		values := s.header.Values(name)
		if len(values) > 0 {
			b.header[strings.ToLower(name)] = values
		}
	}
	return b.digest()
}

// takeSnapshot reads the whole body of r, which has passed CheckTarget and Clean,
// and gives r a fresh body to read again. The body has maxBody bytes at most and
// comes within timeout. Errors are *Refusal.
func takeSnapshot(w http.ResponseWriter, r *http.Request, maxBody int64, timeout time.Duration) (*Snapshot, error) {
	body, err := readBody(w, r, maxBody, timeout)
	if err != nil {
		return nil, err
	}
	s := headOf(r)
	s.body = body
	// A body that came in chunks goes on with its length, and no header may say
	// otherwise to who reads headers.
	s.header.Del("Content-Length")
	if len(body) > 0 || r.Header.Get("Content-Length") != "" {
		s.header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	s.restore(r)
	return s, nil
}

// headOf is the snapshot of a request but for its body.
func headOf(r *http.Request) *Snapshot {
	s := &Snapshot{
		method:     r.Method,
		scheme:     schemeOf(r),
		host:       r.Host,
		requestURI: r.RequestURI,
		url:        *r.URL,
		header:     r.Header.Clone(),
	}
	if s.header == nil {
		s.header = make(http.Header)
	}
	return s
}

// readBody reads the body of r to its end. To have read it all is also what
// lets net/http notice a caller that leaves (HTTP/1.1 reads nothing ahead).
func readBody(w http.ResponseWriter, r *http.Request, maxBody int64, timeout time.Duration) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, tooLarge(maxBody)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	control := http.NewResponseController(w)
	// Writers that know no deadlines leave the time to the server's own.
	_ = control.SetReadDeadline(time.Now().Add(timeout))
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()

	var buffer bytes.Buffer
	if r.ContentLength > 0 {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := buffer.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, bodyRefusal(err, maxBody)
	}
	if r.ContentLength >= 0 && r.ContentLength != int64(buffer.Len()) {
		return nil, bodyRefusal(io.ErrUnexpectedEOF, maxBody)
	}
	return buffer.Bytes(), nil
}

func tooLarge(maxBody int64) *Refusal {
	f := refuse(ProblemTooLarge, "Nothing was sent. The limit is in the member limit, in bytes.", nil)
	f.Limit = maxBody
	return f
}

func bodyRefusal(err error, maxBody int64) *Refusal {
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return tooLarge(maxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(ProblemSlowBody, "Nothing was sent.", err)
	case errors.Is(err, context.Canceled):
		return refuse(ProblemCallerGone, "Nothing was sent.", err)
	default:
		return refuse(ProblemBody, "Nothing was sent.", err)
	}
}

// restore makes r the request of the snapshot again: every field of it that a
// proxy or a template reads. The body is a fresh reader of the stored bytes,
// and nothing lets a transport send it a second time (GetBody).
func (s *Snapshot) restore(r *http.Request) {
	u := s.url
	if u.User != nil {
		user := *u.User
		u.User = &user
	}
	r.Method = s.method
	r.URL = &u
	r.Host = s.host
	r.RequestURI = s.requestURI
	r.Header = s.header.Clone()
	r.Trailer = nil
	r.TransferEncoding = nil
	r.Form = nil
	r.PostForm = nil
	r.MultipartForm = nil
	r.GetBody = nil
	r.ContentLength = int64(len(s.body))
	r.Body = http.NoBody
	if len(s.body) > 0 {
		r.Body = io.NopCloser(&onceReader{rest: s.body})
	}
}

// onceReader reads bytes once, from the front to the end. It is neither a
// Seeker nor one of the readers that http.NewRequest can rewind, and keeps the
// stored bytes from whoever reads: Read copies.
type onceReader struct{ rest []byte }

// Read implements io.Reader.
func (o *onceReader) Read(p []byte) (int, error) {
	if len(o.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}
