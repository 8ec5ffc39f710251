package stepup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/porttest"
)

var allMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// shape is a request as far as it matters for whether a transport replays it.
type shape struct{ method, body, key string }

func shapes() []shape {
	var all []shape
	for _, method := range allMethods {
		for _, body := range []string{"", `{"amount":10}`} {
			for _, key := range []string{"", "key-1"} {
				all = append(all, shape{method, body, key})
			}
		}
	}
	return all
}

func (s shape) String() string {
	return fmt.Sprintf("%s body %t key %t", s.method, s.body != "", s.key != "")
}

func (s shape) send(b *bench) int {
	header := http.Header{}
	if s.key != "" {
		header.Set("Idempotency-Key", s.key)
	}
	return b.do(s.method, "http://bank.example/p", s.body, header).Code
}

// dying answers nothing to the first request and closes.
func dying(u *rawUpstream) {
	u.answer = func(int, *http.Request, []byte) (string, bool) { return "", false }
}

// Go's transport sends again what it takes for idempotent when a connection that
// was in use before dies. This is the fault that the guard is for; if Go ever
// stops to do so, this test says that the others prove less than they seem to.
func TestTransportReplaysWithoutGuard(t *testing.T) {
	transport := newTransport(t)
	u := newRawUpstream(t, dying)
	u.warm(t, transport, 1)
	r, err := http.NewRequest("POST", u.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", "key-1")
	_, err = transport.RoundTrip(r)
	if err == nil || u.count() != 2 {
		t.Errorf("upstream has seen %d, error %v", u.count(), err)
	}
}

// INV-1, threats T2, F1, F2: over all methods, with connections that were in use
// before. With several idle connections one is at hand for a replay at once,
// which a canceled context alone does not stop.
func TestReusedConnectionDies(t *testing.T) {
	for _, idle := range []int{1, 3} {
		for _, s := range shapes() {
			t.Run(fmt.Sprintf("%d idle, %s", idle, s), func(t *testing.T) {
				for range 10 {
					transport := &http.Transport{MaxIdleConnsPerHost: 10}
					u := newRawUpstream(t, dying)
					u.warm(t, transport, idle)
					b := newBench(t, proxy(u.url(), transport))
					status := s.send(b)
					f := b.lastRefusal()
					if u.count() != 1 {
						t.Fatalf("upstream has seen %d", u.count())
					}
					if status != http.StatusBadGateway || f.Problem != ProblemOutcomeUnknown || f.Forwarded != ForwardedUnknown || f.RetryAfter != 0 {
						t.Fatalf("answer is %d %+v", status, f)
					}
					if tx := b.only(t); tx.State != StateInDoubt || !b.events.has(EventInDoubt) {
						t.Fatalf("transaction is %+v", tx)
					}
					transport.CloseIdleConnections()
					u.close()
				}
			})
		}
	}
}

// retrying does what proxies with retries do: it keeps the body and tries each
// upstream in turn, several times, with requests of their own.
type retrying struct {
	transport http.RoundTripper
	hosts     []string
	tries     int
}

func (r *retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	var err error
	if req.Body != nil {
		body, err = io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
	}
	var last error
	for i := range r.tries {
		again := req.Clone(req.Context())
		again.URL.Host = r.hosts[i%len(r.hosts)]
		if body != nil {
			again.Body = io.NopCloser(bytes.NewReader(body))
			again.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		}
		resp, err := r.transport.RoundTrip(again)
		if err == nil {
			return resp, nil
		}
		last = err
	}
	return nil, last
}

// INV-1: a proxy that retries reaches the upstream once.
func TestRetryingProxy(t *testing.T) {
	for _, idle := range []int{0, 3} {
		for _, s := range shapes() {
			t.Run(fmt.Sprintf("%d idle, %s", idle, s), func(t *testing.T) {
				transport := &http.Transport{MaxIdleConnsPerHost: 10}
				t.Cleanup(transport.CloseIdleConnections)
				u := newRawUpstream(t, dying)
				if idle > 0 {
					u.warm(t, transport, idle)
				}
				retry := &retrying{transport: transport, hosts: []string{u.listener.Addr().String()}, tries: 4}
				b := newBench(t, proxy(u.url(), retry))
				status := s.send(b)
				if u.count() != 1 || status != http.StatusBadGateway || b.lastRefusal().Problem != ProblemOutcomeUnknown || b.only(t).State != StateInDoubt {
					t.Errorf("upstream has seen %d, answer is %d %+v", u.count(), status, b.lastRefusal())
				}
			})
		}
	}
}

// A dial error has sent nothing: the next upstream may be tried.
func TestDialErrorFallsOver(t *testing.T) {
	closed := porttest.Reserve(t)
	for _, s := range shapes() {
		t.Run(s.String(), func(t *testing.T) {
			u := newRawUpstream(t, nil)
			retry := &retrying{transport: newTransport(t), hosts: []string{closed, u.listener.Addr().String()}, tries: 2}
			b := newBench(t, proxy(u.url(), retry))
			status := s.send(b)
			if u.count() != 1 || status != http.StatusCreated || b.only(t).State != StateAnswered {
				t.Errorf("upstream has seen %d, status %d", u.count(), status)
			}
		})
	}
}

// Threat G19: nothing was written, and the caller is told so.
func TestUpstreamUnreachable(t *testing.T) {
	closed := porttest.Reserve(t)
	noName := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "legacy", IsNotFound: true}
	}}
	release := make(chan struct{})
	defer close(release) // the transport dials on after the request has ended
	hanging := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		<-release
		return nil, errNone
	}}
	nexts := map[string]Next{
		"refused": proxy("http://"+closed, newTransport(t)),
		"no name": proxy("http://legacy", noName),
		"hanging": proxy("http://legacy", hanging),
		"untraced": func(http.ResponseWriter, *http.Request) error {
			return &net.OpError{Op: "dial", Err: errors.New("refused")}
		},
		"says so":   func(http.ResponseWriter, *http.Request) error { return errNone },
		"own words": ownWords("http://"+closed, newTransport(t)),
	}
	for name, next := range nexts {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, next)
			b.route.UpstreamTimeout = 50 * time.Millisecond
			b.route.NotSent = func(err error) bool { return errors.Is(err, errNone) }
			answer := b.do("POST", "/p", "body", nil)
			f := b.lastRefusal()
			if answer.Code != http.StatusBadGateway || f.Problem != ProblemUpstreamUnreachable || f.Forwarded != ForwardedNo || answer.Header().Get("Retry-After") == "" {
				t.Errorf("answer is %d %+v", answer.Code, f)
			}
			if tx := b.only(t); tx.State != StateFailed {
				t.Errorf("transaction is %+v", tx)
			}
		})
	}
}

var errNone = errors.New("no upstreams available")

// ownWords is a proxy that answers failures by itself, as httputil's does
// without an error handler.
func ownWords(target string, transport http.RoundTripper) Next {
	inner := proxy(target, transport)
	return func(w http.ResponseWriter, r *http.Request) error {
		if inner(w, r) != nil {
			w.Header().Set("X-Proxy", "1")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "proxy's own words")
		}
		return nil
	}
}

// What a proxy says in the place of an upstream that gave no answer is not taken
// for the upstream's answer.
func TestProxyAnswersByItself(t *testing.T) {
	u := newRawUpstream(t, dying)
	b := newBench(t, ownWords(u.url(), newTransport(t)))
	answer := b.do("POST", "/p", "body", nil)
	if answer.Code != http.StatusBadGateway || b.only(t).State != StateInDoubt || b.lastRefusal().Problem != ProblemOutcomeUnknown {
		t.Errorf("answer is %d %s", answer.Code, answer.Body)
	}
	if strings.Contains(answer.Body.String(), "own words") || answer.Header().Get("X-Proxy") != "" {
		t.Errorf("proxy's answer got through: %v %s", answer.Header(), answer.Body)
	}
}

// A handler that cannot be traced counts as sent, unless its error says not.
func TestUntracedHandlerFails(t *testing.T) {
	b := newBench(t, func(http.ResponseWriter, *http.Request) error { return io.ErrUnexpectedEOF })
	answer := b.do("POST", "/p", "body", nil)
	if f := b.lastRefusal(); answer.Code != http.StatusBadGateway || f.Problem != ProblemOutcomeUnknown || b.only(t).State != StateInDoubt {
		t.Errorf("answer is %d %+v", answer.Code, f)
	}
}

// Threat G19, design 3.4: 504 once the upstream may have seen the request.
func TestUpstreamTimesOut(t *testing.T) {
	release := make(chan struct{})
	u := newRawUpstream(t, func(u *rawUpstream) {
		u.answer = func(int, *http.Request, []byte) (string, bool) { <-release; return "", false }
	})
	defer close(release)
	retry := &retrying{transport: newTransport(t), hosts: []string{u.listener.Addr().String()}, tries: 4}
	for name, transport := range map[string]http.RoundTripper{"plain": newTransport(t), "retrying": retry} {
		t.Run(name, func(t *testing.T) {
			before := u.count()
			b := newBench(t, proxy(u.url(), transport))
			b.route.UpstreamTimeout = 50 * time.Millisecond
			answer := b.do("POST", "/p", "body", nil)
			f := b.lastRefusal()
			if answer.Code != http.StatusGatewayTimeout || f.Problem != ProblemOutcomeUnknown || f.Forwarded != ForwardedUnknown || answer.Header().Get("Retry-After") != "" {
				t.Errorf("answer is %d %+v", answer.Code, f)
			}
			if u.count()-before != 1 || b.only(t).State != StateInDoubt {
				t.Errorf("upstream has seen %d, transaction %+v", u.count()-before, b.only(t))
			}
		})
	}
}

// INV-1: an upstream that dies after each byte of a request, on new and on
// reused connections, before a proxy that retries, sees one request.
func TestUpstreamDiesAtEachByte(t *testing.T) {
	for _, s := range []shape{{"POST", `{"amount":10}`, "k"}, {"POST", "", "k"}, {"GET", "", ""}, {"DELETE", "", ""}, {"PUT", "x", ""}} {
		for _, idle := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s, %d idle", s, idle), func(t *testing.T) {
				length := requestLength(t, s)
				for offset := 1; offset <= length; offset += 1 + offset/40 {
					dieAt(t, s, idle, offset)
				}
			})
		}
	}
}

func requestLength(t *testing.T, s shape) int {
	t.Helper()
	u := newRawUpstream(t, nil)
	b := newBench(t, proxy(u.url(), newTransport(t)))
	if s.send(b) != http.StatusCreated {
		t.Fatalf("refusal is %+v", b.lastRefusal())
	}
	return len(u.last())
}

func dieAt(t *testing.T, s shape, idle, offset int) {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 10}
	defer transport.CloseIdleConnections()
	u := newRawUpstream(t, nil)
	defer u.close()
	if idle > 0 {
		u.warm(t, transport, idle)
	}
	u.mu.Lock()
	u.limit = func(int) int { return offset }
	u.mu.Unlock()
	retry := &retrying{transport: transport, hosts: []string{u.listener.Addr().String()}, tries: 3}
	b := newBench(t, proxy(u.url(), retry))
	status := s.send(b)
	if u.count() > 1 {
		t.Fatalf("offset %d: upstream has seen %d", offset, u.count())
	}
	if u.count() == 1 && (status != http.StatusBadGateway || b.only(t).State != StateInDoubt) {
		t.Fatalf("offset %d: status %d, transaction %+v", offset, status, b.only(t))
	}
}

// A request line longer than a transport's buffer is on its way before the trace
// hears of a header: it counts from the connection on.
func TestLongRequestLine(t *testing.T) {
	target := "/p/" + strings.Repeat("x", 8<<20) // more than a socket takes at once
	for _, offset := range []int{1, 5000} {
		transport := newTransport(t)
		u := newRawUpstream(t, func(u *rawUpstream) { u.limit = func(int) int { return offset } })
		retry := &retrying{transport: transport, hosts: []string{u.listener.Addr().String()}, tries: 3}
		b := newBench(t, proxy(u.url(), retry))
		b.do("POST", target, "", nil)
		if u.count() != 1 || b.only(t).State != StateInDoubt {
			t.Errorf("offset %d: upstream has seen %d, transaction is %+v", offset, u.count(), b.only(t))
		}
	}
}

// Threat G19: an answer that breaks off at each byte. Before its headers are
// complete the outcome is not known; afterwards the caller sees it break off.
func TestAnswerBreaksOffAtEachByte(t *testing.T) {
	full := "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n0123456789"
	head := strings.Index(full, "\r\n\r\n") + 4
	for length := range len(full) + 1 {
		u := newRawUpstream(t, func(u *rawUpstream) {
			u.answer = func(int, *http.Request, []byte) (string, bool) { return full[:length], false }
		})
		b := newBench(t, proxy(u.url(), newTransport(t)))
		server := b.serve(t)
		status, body, readErr := 0, []byte(nil), error(nil)
		resp, err := http.Post(server.URL+"/p", "text/plain", strings.NewReader("body"))
		if err == nil {
			status = resp.StatusCode
			body, readErr = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		eventually(t, "the end", func() bool { return b.only(t).State.Final() })
		tx := b.only(t)
		switch {
		case length < head:
			if status != http.StatusBadGateway || tx.State != StateInDoubt || readErr != nil {
				t.Errorf("length %d: status %d, transaction %+v", length, status, tx)
			}
		case length < len(full):
			// Whether the headers got through depends on when they were flushed.
			if err == nil && (status != http.StatusCreated || readErr == nil) || tx.State != StateInDoubt {
				t.Errorf("length %d: status %d, error %v, transaction %+v", length, status, readErr, tx)
			}
		default:
			if string(body) != "0123456789" || readErr != nil || tx.State != StateAnswered {
				t.Errorf("complete: body %q, error %v, transaction %+v", body, readErr, tx)
			}
		}
		if u.count() != 1 {
			t.Errorf("length %d: upstream has seen %d", length, u.count())
		}
		server.Close()
		u.close()
	}
	http.DefaultClient.CloseIdleConnections()
}
