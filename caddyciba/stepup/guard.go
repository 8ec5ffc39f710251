package stepup

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"strings"
	"sync"
)

var (
	errSecondAttempt   = errors.New("a second attempt to send an approved request was stopped")
	errUpstreamTimeout = errors.New("upstream did not answer in time")
)

// smallestBuffer is the write buffer in bytes that a transport is trusted to
// have. A request line that fits is on its way only after the trace has heard of
// a header.
const smallestBuffer = 1024

// guard watches one approved request on its way through whatever is behind the
// gate, and lets it out once. It is called by net/http's transports as they work
// (httptrace), from any goroutine.
//
// As long as nothing was written, another connection may be tried: the first
// upstream could not be reached, or a connection was found closed. From the
// first header on, any further attempt is stopped, whoever makes it: the
// transport's own replay on a reused connection, or a proxy's retries. To cancel
// the context is not enough, as an idle connection may be handed out at the same
// moment, so a connection that is handed out is closed as well.
//
// Transports of other protocols, as FastCGI's, do not tell what they write. They
// can be told by connecting without having asked for a connection, which net.Dialer
// reports for everybody. From the moment that they are connected, the upstream may
// have seen the request.
type guard struct {
	cancel context.CancelCauseFunc
	long   bool // the request line may be written before the trace hears of it

	mu       sync.Mutex
	tried    bool // a transport has asked for a connection
	untraced bool // a transport connects that does not tell what it writes
	sent     bool // the upstream may have seen something
	http2    bool // the attempt that was sent is HTTP/2 or newer, so others are too
	answered bool // the upstream has sent something back
	stopped  bool // a second attempt was stopped
}

// trace returns the hooks.
func (g *guard) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              func(string) { g.getConn() },
		GotConn:              g.gotConn,
		ConnectStart:         func(string, string) { g.connects() },
		ConnectDone:          func(_, _ string, err error) { g.connected(err) },
		WroteHeaderField:     func(name string, _ []string) { g.wrote(name) },
		WroteHeaders:         func() { g.wrote("") },
		GotFirstResponseByte: g.gotAnswer,
	}
}

func (g *guard) getConn() {
	g.mu.Lock()
	g.tried = true
	second := g.sent
	if second {
		g.stopped = true
	}
	g.mu.Unlock()
	if second {
		g.cancel(errSecondAttempt)
	}
}

func (g *guard) gotConn(info httptrace.GotConnInfo) {
	g.mu.Lock()
	second := g.sent
	http2 := g.http2
	if second {
		g.stopped = true
	} else if g.long {
		g.sent = true
	}
	g.mu.Unlock()
	if !second {
		return
	}
	g.cancel(errSecondAttempt)
	if !http2 && info.Conn != nil && !isShared(info.Conn) {
		_ = info.Conn.Close()
	}
}

// connects hears of each address that is dialed. A transport that is traced has
// asked for a connection before, and may try several addresses at once for it.
func (g *guard) connects() {
	g.mu.Lock()
	if !g.tried {
		g.untraced = true
	}
	second := g.untraced && g.sent
	if second {
		g.stopped = true
	}
	g.mu.Unlock()
	if second {
		g.cancel(errSecondAttempt)
	}
}

func (g *guard) connected(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil && g.untraced && !g.tried {
		g.sent = true
	}
}

// isShared reports whether a connection carries other requests too, as those of
// HTTP/2 and HTTP/3 do. Their transports look at the context before they write,
// so that it is enough to have canceled that. HTTP/1.1 looks at nothing, and its
// connection is ours alone.
func isShared(conn net.Conn) bool {
	encrypted, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if ok {
		return encrypted.ConnectionState().NegotiatedProtocol == "h2"
	}
	_, udp := conn.RemoteAddr().(*net.UDPAddr)
	return udp
}

func (g *guard) wrote(field string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	g.sent = true
	if strings.HasPrefix(field, ":") {
		g.http2 = true
	}
}

func (g *guard) gotAnswer() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopped {
		g.answered = true
	}
}

// sight is what the guard has seen.
type sight struct{ tried, sent, answered, stopped bool }

func (g *guard) seen() sight {
	g.mu.Lock()
	defer g.mu.Unlock()
	return sight{tried: g.tried, sent: g.sent, answered: g.answered, stopped: g.stopped}
}
