package stepup

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// rawUpstream is an upstream at the level of bytes. It counts each request of
// which it has seen at least one byte (INV-1), and does with it what a test says.
type rawUpstream struct {
	listener net.Listener
	// answer gets a request that was read in full, with its number from 1, and
	// returns the bytes of the answer and whether the connection is kept.
	answer func(n int, r *http.Request, body []byte) (bytes string, keep bool)
	// limit is the number of bytes of a connection's first request after which it
	// is reset. Negative: never.
	limit func(n int) int

	mu     sync.Mutex
	seen   int
	raw    []string
	conns  map[net.Conn]bool
	closed bool
	group  sync.WaitGroup
}

const okAnswer = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"

func newRawUpstream(t *testing.T, change func(*rawUpstream)) *rawUpstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &rawUpstream{
		listener: listener,
		conns:    make(map[net.Conn]bool),
		answer:   func(int, *http.Request, []byte) (string, bool) { return okAnswer, true },
		limit:    func(int) int { return -1 },
	}
	if change != nil {
		change(u)
	}
	u.group.Go(u.accept)
	t.Cleanup(u.close)
	return u
}

func (u *rawUpstream) url() string { return "http://" + u.listener.Addr().String() }

func (u *rawUpstream) close() {
	u.listener.Close()
	u.mu.Lock()
	u.closed = true
	for conn := range u.conns {
		conn.Close()
	}
	u.mu.Unlock()
	u.group.Wait()
}

func (u *rawUpstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen
}

func (u *rawUpstream) last() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.raw[len(u.raw)-1]
}

func (u *rawUpstream) accept() {
	for {
		conn, err := u.listener.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		if u.closed {
			u.mu.Unlock()
			conn.Close()
			return
		}
		u.conns[conn] = true
		u.group.Go(func() { u.serve(conn) })
		u.mu.Unlock()
	}
}

func (u *rawUpstream) serve(conn net.Conn) {
	defer func() {
		u.mu.Lock()
		delete(u.conns, conn)
		u.mu.Unlock()
		conn.Close()
	}()
	for {
		first := make([]byte, 1)
		_, err := io.ReadFull(conn, first)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.seen++
		n := u.seen
		limit := u.limit(n)
		u.mu.Unlock()
		if limit >= 0 {
			_, _ = io.CopyN(io.Discard, conn, int64(limit-1))
			_ = conn.(*net.TCPConn).SetLinger(0) // a reset, not an end
			return
		}
		if !u.exchange(conn, n, first) {
			return
		}
	}
}

func (u *rawUpstream) exchange(conn net.Conn, n int, first []byte) bool {
	var raw bytes.Buffer
	reader := bufio.NewReaderSize(io.TeeReader(io.MultiReader(bytes.NewReader(first), conn), &raw), 1<<20)
	r, err := http.ReadRequest(reader)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	u.mu.Lock()
	u.raw = append(u.raw, raw.String())
	u.mu.Unlock()
	answer, keep := u.answer(n, r, body)
	if r.Method == http.MethodHead {
		head, _, found := strings.Cut(answer, "\r\n\r\n")
		if found {
			answer = head + "\r\n\r\n"
		}
	}
	_, err = io.WriteString(conn, answer)
	if !keep && answer == "" {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	return keep && err == nil
}

// warm makes the transport keep n idle connections to the upstream.
func (u *rawUpstream) warm(t *testing.T, transport *http.Transport, n int) {
	t.Helper()
	var group sync.WaitGroup
	together := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(n)
	answer := u.answer
	u.answer = func(int, *http.Request, []byte) (string, bool) {
		arrived.Done()
		<-together
		return okAnswer, true
	}
	for range n {
		group.Go(func() {
			r, err := http.NewRequest("GET", u.url(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		})
	}
	arrived.Wait()
	close(together)
	group.Wait()
	u.answer = answer
	u.mu.Lock()
	u.seen, u.raw = 0, nil
	u.mu.Unlock()
}
