package caddyciba

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// A dyingUpstream answers GET and keeps the connection. Of every other request
// it reads all and then cuts the connection without an answer: the caller
// cannot know whether it was carried out.
type dyingUpstream struct {
	net.Listener
	posts atomic.Int64
}

func newDyingUpstream(t *testing.T) *dyingUpstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &dyingUpstream{Listener: ln}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go u.serve(conn)
		}
	}()
	return u
}

func (u *dyingUpstream) serve(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		_, err = io.Copy(io.Discard, req.Body)
		if err != nil {
			return
		}
		if req.Method != http.MethodGet {
			u.posts.Add(1)
			_ = conn.(*net.TCPConn).SetLinger(0)
			return
		}
		_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if err != nil {
			return
		}
	}
}

// An approved request reaches the upstream once, whatever the proxy behind the
// gate is set up to do (threats.md C09; gateways.md fact 4). The first rows show
// that the proxy does repeat requests when no gate is in front of it: if they
// fail, this test proves nothing any more.
func TestSentOnce(t *testing.T) {
	// The proxy needs the body again for a second try, so it buffers it.
	const retries = "{\n\trequest_buffers 64KiB\n\tlb_retries 3\n\tlb_try_interval 5ms\n\tlb_retry_match {\n\t\tmethod POST\n\t}\n}"
	idempotent := http.Header{"Idempotency-Key": {"k-1"}}
	tests := []struct {
		name   string
		gate   bool
		proxy  string
		warm   bool
		body   string
		header http.Header
		more   bool
	}{
		{name: "control: lb_retries", proxy: retries, body: transfer, more: true},
		{name: "control: reused connection", warm: true, header: idempotent, more: true},
		{name: "lb_retries", gate: true, proxy: retries, body: transfer},
		{name: "reused connection", gate: true, warm: true, header: idempotent},
		{name: "reused connection and lb_retries", gate: true, proxy: retries, warm: true, header: idempotent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			op, u := newFakeOP(t), newDyingUpstream(t)
			op.setDecision(approve)
			body := fmt.Sprintf("reverse_proxy %s %s", u.Addr(), tt.proxy)
			if tt.gate {
				body = fmt.Sprintf("@post method POST\nciba @post %s {\n\tcustomer alice\n\tmessage Transfer\n}\n", op.URL) + body
			}
			s := startSite(t, memoryStore, body)
			if tt.warm {
				got := s.do(http.MethodGet, "/", "", nil)
				if got.body != "ok" {
					t.Fatalf("warming up: %+v", got)
				}
			}
			got := s.do(http.MethodPost, "/transfers", tt.body, tt.header)
			if tt.more {
				if n := u.posts.Load(); n < 2 {
					t.Fatalf("the proxy alone sent %d requests: this scenario tests nothing", n)
				}
				return
			}
			if n := u.posts.Load(); n != 1 {
				t.Errorf("the upstream got %d requests, want 1", n)
			}
			got.wantProblem(t, 502, "outcome-unknown", "unknown")
		})
	}
}
