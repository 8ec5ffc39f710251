package caddyciba

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// A caller that leaves while its request is held gets nothing sent, even when
// the customer approves a moment later.
func TestCallerLeaves(t *testing.T) {
	for _, request := range []string{
		"POST /transfers HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 95\r\n\r\n" + transfer,
		"DELETE /transfers HTTP/1.1\r\nHost: %s\r\n\r\n",
	} {
		t.Run(request[:4], func(t *testing.T) {
			op, b := newFakeOP(t), newBank(t)
			s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n\thold 60s\n}\nreverse_proxy %s", op.URL, b.addr()))
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			_, err = fmt.Fprintf(conn, request, s.addr)
			if err != nil {
				t.Fatal(err)
			}
			op.waitStarted(1)
			_ = conn.Close()
			journal := s.gate().engine.Journal()
			eventually(t, "the transaction to be cancelled", func() bool {
				list, err := journal.List(t.Context(), stepup.StateCancelled, "", 10)
				return err == nil && len(list) == 1
			})
			op.setDecision(approve)
			time.Sleep(1500 * time.Millisecond) // more than the provider's interval
			b.wantCount(t, 0)
		})
	}
}

// A caller that leaves once the request is on its way does not stop it half way.
func TestCallerLeavesWhileSending(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	arrived, booked := make(chan struct{}), make(chan error, 1)
	b.handle = func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		select {
		case <-r.Context().Done():
			booked <- r.Context().Err()
		case <-time.After(500 * time.Millisecond):
			booked <- nil
		}
		_, _ = io.WriteString(w, "booked")
	}
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n}\nreverse_proxy %s", op.URL, b.addr()))
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /transfers HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\n\r\n{}", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	_ = conn.Close()
	err = <-booked
	if err != nil {
		t.Errorf("the upstream's work was broken off: %v", err)
	}
	journal := s.gate().engine.Journal()
	eventually(t, "the transaction to be answered", func() bool {
		list, err := journal.List(t.Context(), stepup.StateAnswered, "", 10)
		return err == nil && len(list) == 1 && list[0].Status == http.StatusOK
	})
	b.wantCount(t, 1)
}

// gate returns the one gate there is.
func (s *site) gate() *gate {
	s.t.Helper()
	var found *gate
	gates.Range(func(_, value any) bool {
		found = value.(*gate)
		return false
	})
	if found == nil {
		s.t.Fatal("there is no gate")
	}
	return found
}
