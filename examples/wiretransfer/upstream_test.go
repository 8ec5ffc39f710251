package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// upstream is a legacy API that counts what reaches it, at the level of the
// connection, so that no HTTP server of Go's hides a request from the count.
// What it does with a request is said by the request's path, behind /do/.
type upstream struct {
	address string

	mu       sync.Mutex
	seen     []arrival
	finished []string // targets of slow requests that nobody broke off
}

// arrival is one request as it reached the upstream.
type arrival struct {
	method, target, body string
	header               http.Header
	connection           int
}

// newUpstream listens on a loopback port until the test ends.
func newUpstream(t *testing.T) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{address: listener.Addr().String()}
	var open sync.WaitGroup
	var conns sync.Map
	open.Go(func() {
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, nil)
			open.Go(func() {
				defer conn.Close()
				u.serve(conn.(*net.TCPConn), n)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		conns.Range(func(conn, _ any) bool {
			conn.(net.Conn).Close()
			return true
		})
		open.Wait()
	})
	return u
}

// serve answers the requests of one connection, one after the other.
func (u *upstream) serve(conn *net.TCPConn, n int) {
	reader := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.seen = append(u.seen, arrival{method: req.Method, target: req.RequestURI, body: string(body), header: req.Header, connection: n})
		u.mu.Unlock()
		if !u.act(conn, req, string(body)) {
			return
		}
	}
}

// act does what the path says. It reports whether the connection stays open.
func (u *upstream) act(conn *net.TCPConn, req *http.Request, body string) bool {
	_, what, _ := strings.Cut(req.URL.Path, "/do/")
	switch what, _, _ = strings.Cut(what, "/"); what {
	case "reset": // reads everything, perhaps books it, and dies without a word
		conn.SetLinger(0)
		return false
	case "close": // the same, more politely
		return false
	case "half": // dies in the middle of the answer
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		return false
	case "nonsense":
		io.WriteString(conn, "this is no HTTP\r\n\r\n")
		return false
	case "hang": // reads everything and never answers, until the other side leaves
		io.Copy(io.Discard, conn)
		return false
	case "slow": // works for a second, and notices when the other side leaves
		conn.SetReadDeadline(time.Now().Add(time.Second))
		_, err := conn.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		conn.SetReadDeadline(time.Time{})
		u.mu.Lock()
		u.finished = append(u.finished, req.RequestURI)
		u.mu.Unlock()
		reply(conn, req, "201 Created", "booked after a while")
	case "missing":
		reply(conn, req, "404 Not Found", "no such thing")
	case "broken":
		reply(conn, req, "500 Internal Server Error", "core dumped")
	case "unauthorized":
		reply(conn, req, "401 Unauthorized", "who are you")
	default:
		reply(conn, req, "201 Created", fmt.Sprintf("booked %d bytes", len(body)))
	}
	return true
}

// reply writes an answer with a header of the upstream's own.
func reply(w io.Writer, req *http.Request, status, body string) {
	fmt.Fprintf(w, "HTTP/1.1 %s\r\nContent-Type: text/x-legacy; charset=latin1\r\nX-Legacy: a\r\nX-Legacy: b\r\nContent-Length: %d\r\n\r\n", status, len(body))
	if req.Method != http.MethodHead {
		io.WriteString(w, body)
	}
}

// arrivals returns what reached the upstream with a target that has the suffix.
func (u *upstream) arrivals(suffix string) []arrival {
	u.mu.Lock()
	defer u.mu.Unlock()
	var found []arrival
	for _, a := range u.seen {
		if strings.HasSuffix(a.target, suffix) {
			found = append(found, a)
		}
	}
	return found
}

// completed reports whether a slow request to the target was worked off.
func (u *upstream) completed(target string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Contains(u.finished, target)
}
