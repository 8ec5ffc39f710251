package stepup

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Tokens that nobody has got are given back, the one first from which others come.
func TestUnusedTokensAreRevoked(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: &net.DNSError{}}
	cases := map[string]struct {
		next    Next
		problem Problem
		revoked string
	}{
		"upstream unreachable": {
			func(http.ResponseWriter, *http.Request) error { return dial }, ProblemUpstreamUnreachable, "refresh " + testToken,
		},
		"no handler": {
			func(http.ResponseWriter, *http.Request) error { return nil }, ProblemMisconfigured, "refresh " + testToken,
		},
		"answered": {answering(http.StatusCreated, ""), "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.next)
			b.client.refresh = "refresh"
			b.route.Unhandled = func(context.Context) bool { return true }
			b.do("POST", "/p", "", nil)
			var problem Problem
			if f := b.lastRefusal(); f != nil {
				problem = f.Problem
			}
			if got := strings.Join(b.client.revoked, " "); problem != c.problem || got != c.revoked {
				t.Errorf("problem %q, revoked %q", problem, got)
			}
		})
	}
}
