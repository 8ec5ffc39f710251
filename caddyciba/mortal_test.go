package caddyciba

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
)

// A stage is how far an upstream gets with a request before it dies.
type stage int

const (
	beforeAccept       stage = iota // nobody listens any more
	accepted                        // the connection, and not a byte of it read
	inLine                          // a part of the request line; HTTP/2: a byte of the headers
	inHeaders                       // a part of the headers
	afterHeaders                    // all headers and nothing of the body
	inBody                          // a part of the body
	afterBody                       // all of the request, and not a byte of an answer
	inStatus                        // a part of the status line; HTTP/2: of the headers' frame
	afterStatus                     // the status line; HTTP/2: a frame with the status, headers to follow
	inAnswerHeaders                 // a part of the answer's headers
	afterAnswerHeaders              // all headers of the answer and nothing of its body
	inAnswerBody                    // a part of the answer's body
	healthy                         // it does not die
)

var stageNames = [...]string{
	"before accept", "after accept", "in the request line", "in the headers", "after the headers", "in the body",
	"after the body", "in the status line", "after the status line", "in the answer's headers",
	"after the answer's headers", "in the answer's body", "never",
}

func (s stage) String() string { return stageNames[s] }

// A manner is how an upstream dies.
type manner string

const (
	byReset manner = "reset" // of the TCP connection
	byClose manner = "close" // of the TCP connection, in order
	byHang  manner = "hang"  // no byte more, and the connection stays

	// HTTP/2 has words for it. The connection stays, so that a second attempt can
	// use it.
	byRefused  manner = "REFUSED_STREAM"
	byCancel   manner = "RST_STREAM CANCEL"
	byInternal manner = "RST_STREAM INTERNAL_ERROR"
	byGoAway0  manner = "GOAWAY 0"      // nothing was processed
	byGoAway   manner = "GOAWAY"        // this request was, perhaps
	byLeave    manner = "GOAWAY before" // before the request came
)

// A script is what an upstream does with the requests of a test.
type script struct {
	stage   stage
	manner  manner
	interim int // status code of an interim answer after the headers, 0 for none
	status  int // of the answer
}

const (
	mortalBody = "0123456789"
	mortalType = "text/x-legacy"
)

// errDied ends a connection.
var errDied = errors.New("the upstream has died")

// A mortal is an upstream at the level of bytes. Until it is armed it answers
// everything. Then it counts and does what its script says, with each request.
type mortal struct {
	net.Listener
	http2 bool
	tls   *tls.Config // nil: without encryption
	end   context.Context
	group sync.WaitGroup

	mu       sync.Mutex
	script   *script // nil as long as it is not armed
	conns    map[net.Conn]*mortalConn
	warm     int           // requests that are to come before it is armed
	together chan struct{} // closed when they have come
	touched  int           // requests of which a byte has come
	complete int           // requests that have come in full
	closed   bool
}

// A mortalConn is a connection of the upstream's, as it dies.
type mortalConn struct {
	net.Conn              // with encryption, if there is
	raw      *net.TCPConn // without
	leave    func() error // says that it takes no more requests; nil if it cannot
}

// newMortal starts an upstream that hangs no longer than the context lasts. It has
// an address of its own, where the system has several for the machine itself: the
// port of an upstream that nobody listens to any more must not become another one's.
func newMortal(end context.Context, number int64, http2 bool, config *tls.Config) (*mortal, error) {
	address := netip.AddrFrom4([4]byte{127, 1 + byte(number>>16), byte(number >> 8), byte(number)})
	listener, err := net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
	if err != nil {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, err
	}
	m := &mortal{Listener: listener, http2: http2, tls: config, end: end, conns: make(map[net.Conn]*mortalConn)}
	m.group.Go(m.accept)
	return m, nil
}

// stop closes everything and waits.
func (m *mortal) stop() {
	_ = m.Close()
	m.mu.Lock()
	m.closed = true
	for _, c := range m.conns {
		_ = c.raw.Close()
	}
	m.mu.Unlock()
	m.group.Wait()
}

// expect makes n requests wait for each other, so that each has a connection of
// its own.
func (m *mortal) expect(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warm, m.together = n, make(chan struct{})
}

// await is called for each request before the upstream is armed.
func (m *mortal) await() {
	m.mu.Lock()
	m.warm--
	if m.warm == 0 {
		close(m.together)
	}
	together := m.together
	m.mu.Unlock()
	if together == nil {
		return
	}
	select {
	case <-together:
	case <-m.end.Done():
	}
}

// arm makes the upstream follow the script from now on. What dies before a
// request comes dies at once.
func (m *mortal) arm(s script) {
	m.mu.Lock()
	m.script = &s
	conns := m.conns
	if s.stage == beforeAccept {
		_ = m.Close()
	}
	var leaving []func() error
	for _, c := range conns {
		switch {
		case s.stage <= accepted:
			c.kill(s.manner)
		case s.manner == byLeave && c.leave != nil:
			leaving = append(leaving, c.leave)
		}
	}
	m.mu.Unlock()
	for _, leave := range leaving {
		_ = leave()
	}
}

// counts says how many requests have come, from the first byte on and in full.
func (m *mortal) counts() (touched, complete int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.touched, m.complete
}

// touch counts a request and returns what to do with it; nil before it is armed.
func (m *mortal) touch() *script {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.script != nil {
		m.touched++
	}
	return m.script
}

func (m *mortal) completed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complete++
}

func (m *mortal) accept() {
	for {
		conn, err := m.Accept()
		if err != nil {
			return
		}
		c := &mortalConn{Conn: conn, raw: conn.(*net.TCPConn)}
		m.mu.Lock()
		s := m.script
		switch {
		case m.closed, s != nil && s.stage == beforeAccept:
			_ = conn.Close() // it came while the listener was being closed
			m.mu.Unlock()
			continue
		case s != nil && s.stage == accepted && s.manner != byHang:
			c.kill(s.manner)
			m.mu.Unlock()
			continue
		}
		m.conns[conn] = c
		m.group.Go(func() { m.serve(c) })
		m.mu.Unlock()
	}
}

func (m *mortal) serve(c *mortalConn) {
	defer func() {
		m.mu.Lock()
		delete(m.conns, c.raw)
		m.mu.Unlock()
		_ = c.raw.Close()
	}()
	if m.tls != nil {
		c.Conn = tls.Server(c.raw, m.tls)
	}
	if m.http2 {
		_ = m.serveHTTP2(c)
		return
	}
	_ = m.serveHTTP1(c)
}

// kill ends a connection; the transport is told nothing before.
func (c *mortalConn) kill(how manner) {
	if how == byReset {
		_ = c.raw.SetLinger(0)
	}
	_ = c.raw.Close()
}

// die ends a connection as the script says.
func (m *mortal) die(c *mortalConn, how manner) error {
	if how == byHang {
		<-m.end.Done()
	}
	c.kill(how)
	return errDied
}

// mortalTLS is the encryption of upstreams that speak HTTP/2.
func mortalTLS(t testing.TB) *tls.Config {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	return &tls.Config{Certificates: server.TLS.Certificates, NextProtos: []string{"h2"}}
}
