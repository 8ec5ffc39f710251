package stepup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/porttest"
)

// untraced is a transport of another protocol, as FastCGI's: it dials with
// net.Dialer, and does not tell what it writes.
type untraced struct{}

func (untraced) RoundTrip(r *http.Request) (*http.Response, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(r.Context(), "tcp", r.URL.Host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	err = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if err != nil {
		return nil, err
	}
	err = r.WithContext(context.Background()).Write(conn)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

// INV-1 holds for transports that net/http does not trace: of a proxy that tries
// again, the upstream gets one request, and a dial error at the next try does not
// turn that into none.
func TestUntracedTransportSendsOnce(t *testing.T) {
	closed := porttest.Reserve(t)
	for name, next := range map[string]string{"same again": "", "then unreachable": closed} {
		t.Run(name, func(t *testing.T) {
			u := newRawUpstream(t, dying)
			hosts := []string{u.listener.Addr().String(), next}
			if next == "" {
				hosts = hosts[:1]
			}
			b := newBench(t, proxy(u.url(), &retrying{transport: untraced{}, hosts: hosts, tries: 2}))
			b.route.NotSent = func(err error) bool { return errors.As(err, new(*net.OpError)) }
			answer := b.do("POST", "http://bank.example/p", "body", nil)
			f := b.lastRefusal()
			if u.count() != 1 {
				t.Errorf("upstream has seen %d", u.count())
			}
			if answer.Code != http.StatusBadGateway || f.Problem != ProblemOutcomeUnknown || f.Forwarded != ForwardedUnknown || b.only(t).State != StateInDoubt {
				t.Errorf("answer is %d %+v", answer.Code, f)
			}
		})
	}
}

// What was never connected was never sent, so that the next upstream may be tried.
func TestUntracedTransportFallsOver(t *testing.T) {
	closed := porttest.Reserve(t)
	u := newRawUpstream(t, nil)
	b := newBench(t, proxy(u.url(), &retrying{transport: untraced{}, hosts: []string{closed, u.listener.Addr().String()}, tries: 2}))
	answer := b.do("POST", "http://bank.example/p", "body", nil)
	if u.count() != 1 || answer.Code != http.StatusCreated || b.only(t).State != StateAnswered {
		t.Errorf("upstream has seen %d, answer is %d", u.count(), answer.Code)
	}
}
