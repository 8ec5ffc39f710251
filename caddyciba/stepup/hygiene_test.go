package stepup

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func bare(header http.Header) *http.Request {
	return &http.Request{Method: "POST", URL: &url.URL{Path: "/p"}, Host: testHost, Header: header}
}

// spellings returns all ways to write a header name with "-", "_" and "." and
// in three cases.
func spellings(name string) []string {
	parts := strings.Split(name, "-")
	all := []string{parts[0]}
	for _, part := range parts[1:] {
		var longer []string
		for _, head := range all {
			for _, glue := range []string{"-", "_", "."} {
				longer = append(longer, head+glue+part)
			}
		}
		all = longer
	}
	var cased []string
	for _, s := range all {
		cased = append(cased, s, strings.ToLower(s), strings.ToUpper(s))
	}
	return cased
}

// Threats T9, G04: of a header that we set, no spelling survives, and others
// stay as they are.
func TestOwnHeadersAreRemoved(t *testing.T) {
	for _, spelling := range spellings("X-Approved-By-User") {
		header := http.Header{spelling: {"forged"}, "X-Approved": {"mine"}, "Accept": {"*/*"}}
		r := bare(header)
		err := Clean(r, "X-Approved-By-User")
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Header) != 2 || r.Header.Get("X-Approved") != "mine" || r.Header.Get("Accept") != "*/*" {
			t.Errorf("%q: header is %v", spelling, r.Header)
		}
	}
}

func TestHygiene(t *testing.T) {
	cases := []struct {
		name   string
		header http.Header
		query  string
		want   Problem
	}{
		// Threats G04 to G06, G15, G16.
		{"authorization twice", http.Header{"Authorization": {"a", "b"}}, "", ProblemHeader},
		{"authorization in two spellings", http.Header{"Authorization": {"a"}, "authorization": {"b"}}, "", ProblemHeader},
		{"content type twice", http.Header{"Content-Type": {"a/b", "c/d"}}, "", ProblemHeader},
		{"content type with underscore", http.Header{"Content_type": {"a/b"}}, "", ProblemHeader},
		{"content type with dot", http.Header{"Content.Type": {"a/b"}}, "", ProblemHeader},
		{"content length twice", http.Header{"Content-Length": {"1", "1"}}, "", ProblemHeader},
		{"transfer encoding alias", http.Header{"Transfer_encoding": {"chunked"}}, "", ProblemHeader},
		{"content encoding twice", http.Header{"Content-Encoding": {"identity", "gzip"}}, "", ProblemHeader},
		{"idempotency key twice", http.Header{"Idempotency-Key": {"a", "b"}}, "", ProblemHeader},
		{"idempotency key alias", http.Header{"Idempotency_key": {"a"}}, "", ProblemHeader},
		{"idempotency key of 255", http.Header{"Idempotency-Key": {strings.Repeat("k", 255)}}, "", ""},
		{"idempotency key of 256", http.Header{"Idempotency-Key": {strings.Repeat("k", 256)}}, "", ProblemHeader},
		{"idempotency key empty", http.Header{"Idempotency-Key": {""}}, "", ProblemHeader},
		{"idempotency key with control", http.Header{"Idempotency-Key": {"a\x01"}}, "", ProblemHeader},
		{"idempotency key not ASCII", http.Header{"Idempotency-Key": {"é"}}, "", ProblemHeader},
		{"host of another", http.Header{"Host": {"evil.example"}}, "", ProblemTarget},
		{"host of the same", http.Header{"Host": {"API.example.com"}}, "", ""},

		{"connection close", http.Header{"Connection": {"close"}}, "", ""},
		{"connection keep-alive, TE", http.Header{"Connection": {"Keep-Alive, TE"}}, "", ""},
		{"connection empty elements", http.Header{"Connection": {", close,"}}, "", ""},
		{"connection authorization", http.Header{"Connection": {"close, Authorization"}}, "", ProblemConnection},
		{"connection idempotency key", http.Header{"Connection": {"Idempotency-Key"}}, "", ProblemConnection},
		{"connection our header", http.Header{"Connection": {"X-Ciba-Txn"}}, "", ProblemConnection},
		{"connection in second line", http.Header{"Connection": {"close", "Cookie"}}, "", ProblemConnection},
		{"connection content-length", http.Header{"Connection": {"content-length"}}, "", ProblemConnection},
		{"proxy-connection", http.Header{"Proxy-Connection": {"X-Thing"}}, "", ProblemConnection},
		{"connection alias", http.Header{"Proxy_connection": {"X-Thing"}}, "", ProblemConnection},

		{"expect 100-continue", http.Header{"Expect": {"100-Continue"}}, "", ""},
		{"expect foo", http.Header{"Expect": {"foo"}}, "", ProblemExpectation},

		{"query _method", nil, "_method=DELETE", ProblemOverride},
		{"query _method second", nil, "x=1&_method=DELETE", ProblemOverride},
		{"query _method escaped", nil, "x=1&%5fmethod=DELETE", ProblemOverride},
		{"query _METHOD", nil, "_METHOD", ProblemOverride},
		{"query method", nil, "method=DELETE&x_method=1&_methods=2", ""},
	}
	for _, name := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url"} {
		for _, spelling := range spellings(name) {
			cases = append(cases, struct {
				name   string
				header http.Header
				query  string
				want   Problem
			}{spelling, http.Header{spelling: {"DELETE"}}, "", ProblemOverride})
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := bare(c.header)
			r.URL.RawQuery = c.query
			if r.Header == nil {
				r.Header = http.Header{}
			}
			if got := problemOf(Clean(r)); got != c.want {
				t.Errorf("problem is %q, want %q", got, c.want)
			}
		})
	}
}

func TestHopByHopHeadersEnd(t *testing.T) {
	r := bare(http.Header{
		"Connection": {"close, TE, Trailer, Keep-Alive"}, "Keep-Alive": {"timeout=5"}, "Te": {"gzip"}, "Trailer": {"X-Sum"},
		"Proxy-Connection": {"close"}, "Http2-Settings": {"AAMAAABk"}, "Upgrade": {"h2c"}, "Expect": {"100-continue"},
		"Transfer-Encoding": {"chunked"}, "Host": {testHost}, "X-Mine": {"1"},
	})
	r.Trailer = http.Header{"X-Sum": nil}
	err := Clean(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Header) != 1 || r.Header.Get("X-Mine") != "1" || r.Trailer != nil {
		t.Errorf("header is %v, trailer %v", r.Header, r.Trailer)
	}
}

// On a route that only passes through, what a WebSocket or gRPC needs stays.
func TestUpgradeAndTrailersStayForOthers(t *testing.T) {
	r := bare(http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}, "Te": {"trailers"}})
	err := Clean(r)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Header["Connection"], []string{"Upgrade"}) || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Te") != "trailers" {
		t.Errorf("header is %v", r.Header)
	}
}

// Threat G17.
func TestUpgradeIsRefused(t *testing.T) {
	requests := map[string]*http.Request{
		"websocket":        bare(http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}),
		"upgrade alone":    bare(http.Header{"Upgrade": {"h2c"}}),
		"extended CONNECT": bare(http.Header{":protocol": {"websocket"}}),
		"CONNECT":          {Method: "CONNECT", URL: &url.URL{Path: "/p"}, Host: testHost, Header: http.Header{}},
	}
	for name, r := range requests {
		t.Run(name, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next)
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r.WithContext(t.Context()))
			if w.Code != http.StatusBadRequest || b.lastRefusal().Problem != ProblemUpgrade || upstream.count() != 0 || b.client.asked() != 0 {
				t.Errorf("status is %d, problem %q", w.Code, b.lastRefusal().Problem)
			}
		})
	}
}

// rawExchange writes bytes to a server and returns the answer's status code.
func rawExchange(t *testing.T, address, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// Threats G03, G08, G16 over a real connection: what the server refuses and what
// we do.
func TestRawRequests(t *testing.T) {
	head := "POST /p HTTP/1.1\r\nHost: " + testHost + "\r\nContent-Type: application/json\r\n"
	cases := []struct {
		name, request string
		status        int
		sent          int
	}{
		{"plain", head + "Content-Length: 2\r\n\r\n{}", 201, 1},
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 201, 1},
		{"chunk extension and trailer", head + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", 201, 1},
		{"two hosts", head + "Host: evil.example\r\nContent-Length: 2\r\n\r\n{}", 400, 0},
		{"two lengths", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, 0},
		{"length +2", head + "Content-Length: +2\r\n\r\n{}", 400, 0},
		{"length 2,2", head + "Content-Length: 2,2\r\n\r\n{}", 400, 0},
		{"expect foo", head + "Expect: foo\r\nContent-Length: 2\r\n\r\n{}", 417, 0},
		{"authorization twice", head + "Authorization: a\r\nauthorization: b\r\nContent-Length: 2\r\n\r\n{}", 400, 0},
		{"length over limit", head + fmt.Sprintf("Content-Length: %d\r\n\r\n", defaultMaxBody+1), 413, 0},
		{"chunks over limit", head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", defaultMaxBody+1, strings.Repeat("x", defaultMaxBody+1)), 413, 0},
		{"upgrade", head + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{}", 400, 0},
		{"bad chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next)
			server := b.serve(t)
			status := rawExchange(t, server.Listener.Addr().String(), c.request)
			if status != c.status || upstream.count() != c.sent || b.client.asked() != c.sent {
				t.Errorf("status %d, sent %d, asked %d", status, upstream.count(), b.client.asked())
			}
			if c.sent == 0 {
				return
			}
			if upstream.bodies[0] != "{}" {
				t.Errorf("upstream has seen %q", upstream.bodies)
			}
			for _, name := range []string{"Trailer", "X-Sum", "Transfer-Encoding", "Expect", "Connection"} {
				if len(upstream.header.Values(name)) > 0 {
					t.Errorf("upstream has seen %s", name)
				}
			}
		})
	}
}

// Threat G16: the caller that expects 100-continue gets it, and the upstream is
// not asked for it.
func TestExpectContinue(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	server := b.serve(t)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /p HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", testHost)
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("first line is %q, error %v", line, err)
	}
	_, _ = reader.ReadString('\n')
	_, err = conn.Write([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated || len(upstream.header.Values("Expect")) > 0 {
		t.Errorf("status is %d, upstream's header %v", answer.StatusCode, upstream.header)
	}
}
