package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A request is held longer than the server's timeouts for idle connections, and
// longer than it gives a caller to send the request: the caller has sent all of
// it and now waits (style rule R20; regression tests for Caddy #8103, #8118).
func TestHeldLongerThanServerTimeouts(t *testing.T) {
	for _, timeouts := range []string{"read_body 1s", "read_body 1s\n\t\t\tread_body_idle 0s", "read_body_idle 1s\n\t\t\twrite_idle 1s", "idle 1s", "read_header 1s"} {
		t.Run(timeouts, func(t *testing.T) {
			op, b := newFakeOP(t), newBank(t)
			start := time.Now()
			op.decide = func(*fakeRequest) fakeDecision {
				if time.Since(start) > 2500*time.Millisecond {
					return approve
				}
				return pending
			}
			s := startSite(t, memoryStore+"\n\tservers {\n\t\ttimeouts {\n\t\t\t"+timeouts+"\n\t\t}\n\t}",
				fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n\thold 60s\n}\nreverse_proxy %s", op.URL, b.addr()))
			answers := map[string]<-chan answer{}
			for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
				done := make(chan answer, 1)
				answers[method] = done
				body := ""
				if method == http.MethodPost {
					body = transfer
				}
				go func() { done <- s.do(method, "/transfers", body, nil) }()
			}
			for method, done := range answers {
				got := <-done
				if got.err != nil || got.status != http.StatusCreated {
					t.Errorf("%s: %+v", method, got)
				}
			}
			b.wantCount(t, 3)
		})
	}
}

// The same over HTTP/2, where deadlines belong to streams.
func TestHeldOverHTTP2(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.decide = func(r *fakeRequest) fakeDecision {
		if r.polls > 2 {
			return approve
		}
		return pending
	}
	s := startSite(t, memoryStore+"\n\tservers {\n\t\tprotocols h1 h2 h2c\n\t\ttimeouts {\n\t\t\tread_body 1s\n\t\t\tread_body_idle 1s\n\t\t\twrite_idle 1s\n\t\t}\n\t}",
		fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n\thold 60s\n}\nreverse_proxy %s", op.URL, b.addr()))
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Minute}
	for _, body := range []string{"", transfer} {
		resp, err := client.Post("http://"+s.addr+"/transfers", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusCreated || resp.ProtoMajor != 2 {
			t.Errorf("got %s %s", resp.Proto, resp.Status)
		}
	}
	b.wantCount(t, 2)
}
