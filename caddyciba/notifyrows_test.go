package caddyciba

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The rows N of the threat catalogue, through Caddy.
func TestBadNotifications(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := notifyingSite(t, op, b, "ping")
	first := s.postLater("/transfers", transfer)
	op.waitStarted(1)
	second := s.postLater("/transfers?2", transfer)
	op.waitStarted(2)
	eventually(t, "the first polls", func() bool { return op.polls(0) == 1 && op.polls(1) == 1 })
	requests := op.started()
	token := func(i int) string { return requests[i].form.Get("client_notification_token") }
	values := strings.NewReplacer("{token}", token(0), "{id}", requests[0].id, "{token2}", token(1), "{id2}", requests[1].id)
	send := func(columns []string) {
		t.Helper()
		body := repeat(values.Replace(columns[4]))
		got := s.raw(fmt.Sprintf("%s /.ciba/ping/corp HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n\r\n%s",
			columns[2], s.addr, len(body), values.Replace(columns[3]), body))
		if got.err != nil || strconv.Itoa(got.status) != columns[1] || got.body != "" {
			t.Errorf("%q: got %+v", columns, got)
		}
	}
	for _, row := range spellings(t, "testdata/badinput/notify.txt") {
		columns := strings.SplitN(row, "\t", 5)
		switch {
		case len(columns) != 5:
			t.Fatalf("%q has %d columns", row, len(columns))
		case columns[0] == "N06":
			began := time.Now()
			for range 100 {
				send(columns)
			}
			// A ping is heeded when the interval of a second is over.
			eventually(t, "a poll", func() bool { return op.polls(0) > 1 })
			if most := 2 + int(time.Since(began)/time.Second); op.polls(0) > most {
				t.Errorf("%d polls, want %d at most", op.polls(0), most)
			}
		case columns[0] == "N05":
			op.decideFor(requests[0].id, approve)
			// One that comes a moment after another one is that one again.
			eventually(t, "the end", func() bool {
				send(columns)
				select {
				case got := <-first:
					if got.status != 201 {
						t.Errorf("got %+v", got)
					}
					return true
				default:
					return false
				}
			})
			polls := op.polls(0)
			for range 100 {
				send(columns)
			}
			if op.polls(0) != polls {
				t.Errorf("%d polls after the end", op.polls(0)-polls)
			}
		default:
			send(columns)
			if op.polls(0) != 1 || op.polls(1) != 1 {
				t.Fatalf("%q caused a poll", row)
			}
		}
	}
	b.wantCount(t, 1)
	op.decideFor(requests[1].id, deny)
	values = strings.NewReplacer("{token}", token(1), "{id}", requests[1].id)
	send([]string{"", "204", "POST", "Content-Type: application/json\r\nAuthorization: Bearer {token}", `{"auth_req_id":"{id}"}`})
	(<-second).wantProblem(t, 403, "approval-denied", false)
}
