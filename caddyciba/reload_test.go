package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Ten held requests survive a reload through the admin API: each gets its
// answer and each is sent once. Caddy cleans the old handler up while they are
// being held (gateways.md fact 3).
func TestReloadWhileHeld(t *testing.T) {
	const held = 10
	for _, tt := range []struct {
		name  string
		after func(op *fakeOP, b *bank) string
	}{
		{"same gate", func(op *fakeOP, b *bank) string { return "header X-Version 2\n" + gateBlock(op, b) }},
		{"other settings", func(op *fakeOP, b *bank) string {
			return strings.Replace(gateBlock(op, b), "hold     20s", "hold     10s", 1)
		}},
		{"gate removed", func(_ *fakeOP, b *bank) string { return "reverse_proxy " + b.addr() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			op, b := newFakeOP(t), newBank(t)
			s := startSite(t, memoryStore, gateBlock(op, b))

			var answers []<-chan answer
			for i := range held {
				body := strings.Replace(transfer, "100.00", fmt.Sprintf("%d.00", 100+i), 1)
				answers = append(answers, s.postLater("/transfers", body))
			}
			op.waitStarted(held)
			s.reload(tt.after(op, b))
			op.setDecision(approve)

			for _, done := range answers {
				got := <-done
				if got.err != nil || got.status != http.StatusCreated || got.body != "booked for Bearer token-of-alice" {
					t.Errorf("got %+v", got)
				}
			}
			b.wantCount(t, held)
			bodies := make(map[string]int)
			for _, r := range b.received() {
				bodies[r.body]++
			}
			if len(bodies) != held {
				t.Errorf("the upstream got %d different transfers, want %d", len(bodies), held)
			}
			if n := len(op.started()); n != held {
				t.Errorf("the customer was asked %d times, want %d", n, held)
			}
		})
	}
}
