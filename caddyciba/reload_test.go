package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(pause{})
	httpcaddyfile.RegisterHandlerDirective("ciba_test_pause", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return new(pause), nil
	})
}

// pause keeps a request in front of the gate until the test lets it go on.
type pause struct{}

var paused = struct{ arrived, resume chan struct{} }{make(chan struct{}, 1), make(chan struct{})}

func (pause) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ciba_test_pause", New: func() caddy.Module { return new(pause) }}
}

func (*pause) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	paused.arrived <- struct{}{}
	<-paused.resume
	return next.ServeHTTP(w, r)
}

// A request can reach the gate of a configuration that has been replaced and
// cleaned up, when something in front of the gate took its time. The gate is then
// made once more, for this request, and goes with it.
func TestRequestAfterCleanup(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("route {\n\tciba_test_pause\n\tciba %s {\n\t\tcustomer alice\n\t\tmessage Transfer\n\t}\n\treverse_proxy %s\n}", op.URL, b.addr()))
	done := s.postLater("/transfers", transfer)
	<-paused.arrived
	s.reload("respond gone")
	eventually(t, "the gate to be released", func() bool { return references() == 0 })
	paused.resume <- struct{}{}
	if got := <-done; got.status != http.StatusCreated {
		t.Errorf("got %+v", got)
	}
	b.wantCount(t, 1)
	eventually(t, "the gate to be released again", func() bool { return references() == 0 })
}

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
