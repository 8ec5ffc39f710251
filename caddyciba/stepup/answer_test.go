package stepup

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"
)

// INV-2: the bytes that arrive are those of the caller's request, and what the
// operator has configured, and what a proxy must change.
func TestBytesThatArrive(t *testing.T) {
	u := newRawUpstream(t, nil)
	b := newBench(t, proxy(u.url(), newTransport(t)))
	b.route.TokenHeader = "X-Customer-Token"
	b.route.Headers = []string{"X-Approved-By"}
	b.route.SetHeaders = func(h http.Header, a *Approval) {
		h.Set("X-Approved-By", a.Claims.Subject)
		h.Set("X-Not-Announced", "1")
	}
	server := b.serve(t)
	status := rawExchange(t, server.Listener.Addr().String(), "POST /p/a%20b?x=%7e&y HTTP/1.1\r\n"+
		"Host: Bank.example\r\n"+
		"Authorization: Basic bWluZQ==\r\n"+
		"X_Approved_By: forged\r\nx-approved-by: forged\r\nX.Customer.Token: forged\r\n"+
		"Content-Type: application/json; charset=utf-8\r\n"+
		"X-Multi: 1\r\nX-Multi: 2\r\n"+
		"Trailer: X-Sum\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n"+
		"5\r\n{\"a\":\r\n3;ext=1\r\n1 }\r\n0\r\nX-Sum: 1\r\n\r\n")
	if status != http.StatusCreated {
		t.Fatalf("status is %d: %+v", status, b.lastRefusal())
	}
	want := []string{
		"POST /p/a%20b?x=%7e&y HTTP/1.1",
		"Host: Bank.example",
		"Content-Length: 8",
		"Accept-Encoding: identity",
		"Authorization: Basic bWluZQ==",
		"Content-Type: application/json; charset=utf-8",
		"X-Approved-By: customer-1",
		"X-Customer-Token: " + testToken,
		"X-Multi: 1",
		"X-Multi: 2",
		"",
		`{"a":1 }`,
	}
	if got := u.last(); got != strings.Join(want, "\r\n") {
		t.Errorf("upstream has seen:\n%s", got)
	}
}

// Threat T10: the token is on the request to the upstream alone, not on the one
// that loggers and templates of the server know.
func TestTokenIsNotOnTheCallersRequest(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	r := httptest.NewRequest("POST", "/p", strings.NewReader("body"))
	r.Header.Set("Authorization", "Bearer of-the-caller")
	b.ServeHTTP(httptest.NewRecorder(), r)
	if upstream.header.Get("Authorization") != "Bearer "+testToken {
		t.Fatalf("upstream's header is %v", upstream.header)
	}
	if len(r.Header.Values("Authorization")) != 0 {
		t.Errorf("caller's request has %q", r.Header.Values("Authorization"))
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != "body" {
		t.Errorf("caller's request has the body %q, error %v", body, err)
	}
}

func TestNoToken(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	b.route.NoToken = true
	b.do("POST", "/p", "body", http.Header{"Authorization": {"Basic mine"}})
	if got := upstream.header.Get("Authorization"); got != "Basic mine" {
		t.Errorf("Authorization is %q", got)
	}
}

// Design 3.3: the answer arrives as the upstream sent it, whatever the caller
// says about codings.
func TestAnswerIsNotUnpacked(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err := io.WriteString(zip, "receipt")
	if err != nil {
		t.Fatal(err)
	}
	err = zip.Close()
	if err != nil {
		t.Fatal(err)
	}
	always := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}
	asked := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			always(w, r)
			return
		}
		_, _ = io.WriteString(w, "receipt")
	}
	cases := []struct {
		name     string
		upstream http.HandlerFunc
		method   string
		header   http.Header
		accept   string // what the upstream sees
		coding   string // of the answer
	}{
		{"none said", asked, "POST", nil, "identity", ""},
		{"none said, upstream packs", always, "POST", nil, "identity", "gzip"},
		{"empty", asked, "POST", http.Header{"Accept-Encoding": {""}}, "identity", ""},
		{"gzip", asked, "POST", http.Header{"Accept-Encoding": {"gzip"}}, "gzip", "gzip"},
		{"br, gzip;q=0.5", asked, "POST", http.Header{"Accept-Encoding": {"br, gzip;q=0.5"}}, "br, gzip;q=0.5", "gzip"},
		{"range", asked, "GET", http.Header{"Range": {"bytes=0-1"}}, "", ""},
		{"HEAD", asked, "HEAD", nil, "", ""},
	}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		for _, c := range cases {
			t.Run(protocol+" "+c.name, func(t *testing.T) {
				accept := ""
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					accept = strings.Join(r.Header.Values("Accept-Encoding"), "|")
					c.upstream(w, r)
				}))
				server.EnableHTTP2 = protocol == "HTTP/2"
				server.StartTLS()
				defer server.Close()
				b := newBench(t, proxy(server.URL, server.Client().Transport))
				answer := b.do(c.method, "/p", "", c.header)
				if accept != c.accept || answer.Header().Get("Content-Encoding") != c.coding {
					t.Errorf("upstream has seen %q, answer has %q", accept, answer.Header().Get("Content-Encoding"))
				}
				want := "receipt"
				if c.coding == "gzip" {
					want = packed.String()
				}
				if c.method == "HEAD" {
					want = ""
				}
				if answer.Body.String() != want {
					t.Errorf("body is %q", answer.Body)
				}
			})
		}
	}
}

// Threat G20: redirects, challenges and server errors of the upstream are its
// answers; the token goes nowhere else.
func TestUpstreamAnswersArePassed(t *testing.T) {
	evil := newRawUpstream(t, nil)
	for _, status := range []int{200, 204, 304, 307, 308, 401, 404, 409, 500, 502, 503, 504} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", evil.url())
			w.Header().Set("X-Upstream", "1")
			w.WriteHeader(status)
		}))
		b := newBench(t, proxy(server.URL, newTransport(t)))
		answer := b.do("POST", "/p", "body", nil)
		if answer.Code != status || answer.Header().Get("X-Upstream") != "1" || answer.Header().Get("Location") != evil.url() {
			t.Errorf("%d: answer is %d %v", status, answer.Code, answer.Header())
		}
		if tx := b.only(t); tx.State != StateAnswered || tx.Status != status {
			t.Errorf("%d: transaction is %+v", status, tx)
		}
		server.Close()
	}
	if evil.count() != 0 {
		t.Error("the redirect was followed")
	}
}

// The answer streams: 1xx, headers, flushed parts, trailers.
func TestAnswerStreams(t *testing.T) {
	step := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "one")
		_ = http.NewResponseController(w).Flush()
		<-step
		_, _ = io.WriteString(w, "two")
		w.Header().Set("X-Sum", "6")
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
	}))
	defer upstream.Close()
	b := newBench(t, proxy(upstream.URL, newTransport(t)))
	server := b.serve(t)
	hints := ""
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		if code == http.StatusEarlyHints {
			hints = header.Get("Link")
		}
		return nil
	}}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", server.URL+"/p", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newTransport(t).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 3)
	_, err = io.ReadFull(resp.Body, first)
	if err != nil || string(first) != "one" || hints == "" || resp.Header.Get("Link") != "" {
		t.Fatalf("first part is %q, hints %q, header %v, error %v", first, hints, resp.Header, err)
	}
	close(step)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != "two" || resp.Trailer.Get("X-Sum") != "6" || resp.Trailer.Get("X-Late") != "1" {
		t.Errorf("rest is %q, trailer %v, error %v", rest, resp.Trailer, err)
	}
}

// Design 3.3: a caller that leaves in the middle of the answer does not break off
// the upstream's work.
func TestCallerLeavesDuringTheAnswer(t *testing.T) {
	const size = 16 << 20
	finished := make(chan int64, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, _ := io.CopyN(w, zeros{}, size)
		finished <- n
	}))
	defer upstream.Close()
	b := newBench(t, proxy(upstream.URL, newTransport(t)))
	server := b.serve(t)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/p", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newTransport(t).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	resp.Body.Close()
	if n := <-finished; n != size {
		t.Errorf("upstream could write %d", n)
	}
	eventually(t, "answered", func() bool { return b.only(t).State == StateAnswered })
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// An answer that nobody reads and that does not end is broken off after a time.
func TestEndlessAnswerToNobody(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer upstream.Close()
	b := newBench(t, proxy(upstream.URL, newTransport(t)))
	b.route.UpstreamTimeout = 50 * time.Millisecond
	server := b.serve(t)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/p", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newTransport(t).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond) // no limit for who is there
	if state := b.only(t).State; state != StateSending {
		t.Errorf("while the caller reads the state is %s", state)
	}
	leave()
	resp.Body.Close()
	eventually(t, "in doubt", func() bool { return b.only(t).State == StateInDoubt })
}

// A server's write timeout counts from the request's start. It is moved, so that
// the answer after a long hold is not lost (design 3.3).
func TestWriteTimeoutIsMoved(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(protocol, func(t *testing.T) {
			b := newBench(t, answering(http.StatusCreated, "receipt"))
			b.client.wait = func(ctx context.Context) error {
				select {
				case <-time.After(1500 * time.Millisecond):
					return nil
				case <-ctx.Done():
					return untilDone(ctx)
				}
			}
			server := httptest.NewUnstartedServer(b)
			server.Config.WriteTimeout = time.Second
			server.EnableHTTP2 = protocol == "HTTP/2"
			server.StartTLS()
			defer server.Close()
			resp, err := server.Client().Post(server.URL+"/p", "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusCreated || string(body) != "receipt" || !strings.HasPrefix(resp.Proto, protocol) {
				t.Errorf("answer is %s %d %q, error %v", resp.Proto, resp.StatusCode, body, err)
			}
		})
	}
}

// A handler that writes nothing has answered 200, as everywhere.
func TestSilentHandler(t *testing.T) {
	b := newBench(t, func(http.ResponseWriter, *http.Request) error { return nil })
	answer := b.do("POST", "/p", "body", nil)
	if tx := b.only(t); answer.Code != 200 || tx.State != StateAnswered || tx.Status != 200 {
		t.Errorf("answer is %d, transaction %+v", answer.Code, tx)
	}
}

// A proxy that does not say that an answer broke off does not make it whole.
func TestShortAnswer(t *testing.T) {
	cases := map[string]struct {
		next  Next
		whole bool
	}{
		"short":   {announcing(10, "12345"), false},
		"long":    {announcing(3, "12345"), false},
		"none":    {announcing(10, ""), false},
		"exact":   {announcing(5, "12345"), true},
		"unknown": {answering(200, "12345"), true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.next)
			var broken any
			func() {
				defer func() { broken = recover() }()
				b.do("POST", "/p", "body", nil)
			}()
			if (broken == nil) != c.whole || broken != nil && broken != http.ErrAbortHandler {
				t.Errorf("panic is %v", broken)
			}
			want := StateInDoubt
			if c.whole {
				want = StateAnswered
			}
			if tx := b.only(t); tx.State != want {
				t.Errorf("transaction is %+v", tx)
			}
		})
	}
	for _, status := range []int{http.StatusNoContent, http.StatusNotModified} {
		b := newBench(t, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Length", "10")
			w.WriteHeader(status)
			return nil
		})
		b.do("POST", "/p", "body", nil)
		if tx := b.only(t); tx.State != StateAnswered {
			t.Errorf("%d: transaction is %+v", status, tx)
		}
	}
}

func announcing(length int, body string) Next {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", strconv.Itoa(length))
		w.WriteHeader(http.StatusOK)
		_, err := io.WriteString(w, body)
		return err
	}
}
