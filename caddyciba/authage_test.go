package caddyciba

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// The approval must come of an authentication for this request, as far as the
// provider says when it was (design section 3.1, step 11; threats.md R06).
func TestAuthAge(t *testing.T) {
	at := func(age time.Duration) func(map[string]any) {
		return func(claims map[string]any) { claims["auth_time"] = time.Now().Add(-age).Unix() }
	}
	missing := func(claims map[string]any) { delete(claims, "auth_time") }
	for _, tt := range []struct {
		name, options string
		claims        func(map[string]any)
		approved      bool
	}{
		{"now", "", at(0), true},
		{"an hour ago", "", at(time.Hour), false},
		{"not said", "", missing, true},
		{"not said, with acr", "acr phr", missing, false},
		{"within the age", "auth_age 2h", at(time.Hour), true},
		{"above the age", "auth_age 30m", at(time.Hour), false},
		{"not said, with an age", "auth_age 2h", missing, false},
		{"off", "auth_age off", at(time.Hour), true},
		{"off, not said, with acr", "auth_age off\n\tacr phr", missing, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			op, b := newFakeOP(t), newBank(t)
			op.setDecision(approve)
			op.claims = tt.claims
			s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\t%s\n}\nreverse_proxy %s", op.URL, tt.options, b.addr()))
			got := s.post("/transfers", transfer)
			if tt.approved {
				if got.status != http.StatusCreated {
					t.Errorf("got %+v", got)
				}
				return
			}
			got.wantProblem(t, 403, "approval-mismatch", false)
			b.wantCount(t, 0)
		})
	}
}
