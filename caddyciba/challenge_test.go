package caddyciba

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// demanding is an upstream that wants to know the customer for transfers, and takes
// a token that was not got by an approval for everything else.
func demanding(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/transfers" && r.Header.Get("Authorization") != "Bearer token-of-alice" {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", acr_values="phr", max_age="60"`)
		w.Header().Set("X-Secret", "of the challenge")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "who is it?")
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, "done for "+r.Header.Get("Authorization"))
}

// The customer is asked only where the upstream demands it, for what it demands, and
// the request is sent once more, through the same handle block. RFC 9470.
func TestOnChallenge(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	b.handle = demanding
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", fmt.Sprintf(`
	route {
		ciba %s {
			customer alice
			message Transfer
			on_challenge
		}
		handle /transfers {
			reverse_proxy %s
		}
		handle {
			reverse_proxy %s
		}
	}`, op.URL, b.addr(), b.addr()))
	own := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer own"}}
	got := s.do("POST", "/accounts", transfer, own)
	if got.status != 201 || got.body != "done for Bearer own" || len(op.started()) != 0 {
		t.Errorf("got %+v, asked %d times", got, len(op.started()))
	}
	got = s.do("POST", "/transfers", transfer, own)
	if got.status != 201 || got.body != "done for Bearer token-of-alice" || got.header.Get("X-Secret") != "" || got.header.Get("WWW-Authenticate") != "" {
		t.Errorf("got %+v", got)
	}
	seen := b.received()
	if len(seen) != 3 || seen[1].body != transfer || seen[2].body != transfer {
		t.Errorf("the upstream saw %+v", seen)
	}
	requests := op.started()
	if len(requests) != 1 || requests[0].form.Get("acr_values") != "phr" {
		t.Errorf("the provider was asked %+v", requests)
	}
}

// A customer who says no, or who authenticates too weakly, leaves the request where
// it was; a challenge to an approved request is the caller's answer; and other 401s
// are nothing to the gate.
func TestOnChallengeEnds(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n\ton_challenge\n}\nreverse_proxy %s", op.URL, b.addr()))
	b.handle = demanding
	op.setDecision(approve)
	op.mu.Lock()
	op.claims = func(claims map[string]any) { claims["acr"] = "pwd" }
	op.mu.Unlock()
	s.post("/transfers", transfer).wantProblem(t, 403, "approval-mismatch", false)
	b.wantCount(t, 1)

	op.mu.Lock()
	op.claims = nil
	op.mu.Unlock()
	b.mu.Lock()
	b.handle = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
	b.mu.Unlock()
	if got := s.post("/transfers", transfer); got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("got %+v", got)
	}
	b.wantCount(t, 3)

	b.mu.Lock()
	b.handle = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "go away")
	}
	b.mu.Unlock()
	if got := s.post("/transfers", transfer); got.status != 401 || got.body != "go away" {
		t.Errorf("got %+v", got)
	}
	b.wantCount(t, 4)

	b.mu.Lock()
	b.handle = demanding
	b.mu.Unlock()
	op.setDecision(deny)
	s.post("/transfers", transfer).wantProblem(t, 403, "approval-denied", false)
	b.wantCount(t, 5)
}
