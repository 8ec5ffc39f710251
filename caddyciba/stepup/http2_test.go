package stepup

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// h2Upstream speaks HTTP/2 without encryption and answers each request with a
// frame that makes Go's transport try again: it counts the requests.
type h2Upstream struct {
	listener net.Listener
	seen     atomic.Int64
	group    sync.WaitGroup
	refuse   func(framer *http2.Framer, stream uint32) error
}

func newH2Upstream(t *testing.T, refuse func(*http2.Framer, uint32) error) *h2Upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &h2Upstream{listener: listener, refuse: refuse}
	ctx, end := context.WithCancel(context.Background())
	u.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			// Whether a transport has its connection back among the idle ones
			// when the test ends is a matter of timing.
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			u.group.Go(func() {
				defer stop()
				u.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		end()
		u.group.Wait()
	})
	return u
}

func (u *h2Upstream) serve(conn net.Conn) {
	defer conn.Close()
	preface := make([]byte, len(http2.ClientPreface))
	_, err := io.ReadFull(conn, preface)
	if err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	err = framer.WriteSettings()
	if err != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			u.seen.Add(1)
			err = u.refuse(framer, frame.StreamID)
		}
		if err != nil {
			return
		}
	}
}

func h2cTransport(t *testing.T) *http.Transport {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// INV-1, threat F3: HTTP/2 has replays of its own. Those that a server may ask
// for are not made either: its word that nothing was done is not proof.
func TestHTTP2Replays(t *testing.T) {
	refusals := map[string]func(*http2.Framer, uint32) error{
		"REFUSED_STREAM": func(f *http2.Framer, id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeRefusedStream) },
		"PROTOCOL_ERROR": func(f *http2.Framer, id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeProtocol) },
		"GOAWAY": func(f *http2.Framer, _ uint32) error {
			return errors.Join(f.WriteGoAway(0, http2.ErrCodeNo, nil), io.EOF)
		},
		"close": func(*http2.Framer, uint32) error { return io.EOF },
	}
	for name, refuse := range refusals {
		for _, s := range []shape{{"POST", "", "k"}, {"GET", "", ""}, {"POST", "body", "k"}} {
			t.Run(name+" "+s.String(), func(t *testing.T) {
				u := newH2Upstream(t, refuse)
				address := u.listener.Addr().String()
				retry := &retrying{transport: h2cTransport(t), hosts: []string{address}, tries: 3}
				b := newBench(t, proxy("http://"+address, retry))
				status := s.send(b)
				if u.seen.Load() != 1 || status != http.StatusBadGateway || b.only(t).State != StateInDoubt {
					t.Errorf("upstream has seen %d, status %d, transaction %+v", u.seen.Load(), status, b.only(t))
				}
			})
		}
	}
}

// A control for the test above: without the guard there is a replay.
func TestHTTP2ReplaysWithoutGuard(t *testing.T) {
	var u *h2Upstream
	u = newH2Upstream(t, func(f *http2.Framer, id uint32) error {
		if u.seen.Load() > 1 {
			return io.EOF
		}
		return f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
	})
	r, err := http.NewRequest("POST", "http://"+u.listener.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h2cTransport(t).RoundTrip(r)
	if err == nil || u.seen.Load() < 2 {
		t.Errorf("upstream has seen %d, error %v", u.seen.Load(), err)
	}
}

// The connection that a stopped attempt was given may carry other people's
// requests: they must not suffer.
func TestHTTP2ConnectionIsLeftAlone(t *testing.T) {
	for _, encrypted := range []bool{true, false} {
		var hits atomic.Int64
		reached := make(chan struct{})
		release := make(chan struct{})
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/other" {
				close(reached)
				<-release
				return
			}
			hits.Add(1)
			panic(http.ErrAbortHandler)
		}))
		transport := h2cTransport(t)
		if encrypted {
			server.EnableHTTP2 = true
			server.StartTLS()
			transport = server.Client().Transport.(*http.Transport)
		} else {
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Start()
		}
		other := make(chan error, 1)
		go func() {
			r, err := http.NewRequest("GET", server.URL+"/other", nil)
			if err == nil {
				var resp *http.Response
				resp, err = transport.RoundTrip(r)
				if err == nil {
					resp.Body.Close()
				}
			}
			other <- err
		}()
		<-reached
		address := strings.TrimPrefix(strings.TrimPrefix(server.URL, "https://"), "http://")
		b := newBench(t, proxy(server.URL, &retrying{transport: transport, hosts: []string{address}, tries: 3}))
		answer := b.do("POST", "/p", "body", nil)
		if hits.Load() != 1 || answer.Code != http.StatusBadGateway || b.only(t).State != StateInDoubt {
			t.Errorf("encrypted %t: upstream has seen %d, status %d", encrypted, hits.Load(), answer.Code)
		}
		close(release)
		err := <-other
		if err != nil {
			t.Errorf("encrypted %t: another request has failed: %v", encrypted, err)
		}
		transport.CloseIdleConnections()
		server.Close()
	}
}
