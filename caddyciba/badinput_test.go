package caddyciba

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// The rows G of the threat catalogue that one request can show, through Caddy as
// they come on the wire. Of each: no prompt, nothing sent, no secret in the answer,
// no 5xx.
func TestBadInput(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage \"Pay {ciba.body.amount}\"\n\tlimit off\n}\nreverse_proxy %s", op.URL, b.addr()))
	for _, row := range spellings(t, "testdata/badinput/gate.txt") {
		fields := strings.SplitN(row, "\t", 6)
		if len(fields) != 6 {
			t.Fatalf("%q has %d fields", row, len(fields))
		}
		id, line, headers, body := fields[0], fields[3], fields[4], fields[5]
		status, err := strconv.Atoi(fields[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Run(id+" "+line+" "+headers+" "+body, func(t *testing.T) {
			rest, raw := strings.CutPrefix(headers, "raw ")
			if !raw {
				rest = strings.TrimSuffix("Content-Type: application/json\r\n"+headers, "\r\n")
			}
			got := s.raw(fmt.Sprintf("%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n\r\n%s", line, s.addr, len(body), rest, body))
			got.wantProblem(t, status, fields[2], false)
			if strings.Contains(got.body, testClientSecret) {
				t.Errorf("the answer has a secret: %s", got.body)
			}
		})
	}
	b.wantCount(t, 0)
	if n := len(op.started()); n != 0 {
		t.Errorf("somebody was asked %d times", n)
	}
	// The same gate takes what is as it should be.
	if got := s.post("/transfers", `{"amount":"1"}`); got.status != 201 {
		t.Errorf("got %+v", got)
	}
}
