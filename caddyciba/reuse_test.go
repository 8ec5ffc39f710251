package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// tellers are two callers that authenticate by basic_auth. Their password is hashed
// as cheaply as can be.
const tellers = "basic_auth {\n\tanna $2a$04$Mi064TTADyCyrErdUZ85LO0DHGWT0/Zso4B.xsgoTOyQd0W.Ksc0.\n\tben $2a$04$Mi064TTADyCyrErdUZ85LO0DHGWT0/Zso4B.xsgoTOyQd0W.Ksc0.\n}\n"

// as sends JSON as one of them.
func (s *site) as(user, method, path, body string) answer {
	return s.do(method, path, body, http.Header{"Content-Type": {"application/json"}, "Authorization": s.basic(user)})
}

// basic are the credentials of one of them.
func (s *site) basic(user string) []string {
	r, err := http.NewRequest(http.MethodPost, "http://"+s.addr, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth(user, tellerPassword)
	return r.Header["Authorization"]
}

const tellerPassword = "secret"

// An approval covers later requests of its caller and customer, whatever they are,
// with its token; not those of others, not those of another route, and not for
// longer than it was given.
func TestReuse(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", tellers+fmt.Sprintf(`
	ciba /a* %s {
		reuse 2s
		header_up X-Approved-By {ciba.claims.sub}
	}
	ciba /b* %s {
		reuse 2s
	}
	reverse_proxy %s`, op.URL, op.URL, b.addr()))
	if got := s.as("anna", "POST", "/a/1", transfer); got.status != 201 || got.body != "booked for Bearer token-of-anna" {
		t.Fatalf("got %+v", got)
	}
	request := op.started()[0]
	if message := request.form.Get("binding_message"); !strings.HasPrefix(message, "Requests to "+s.addr+", for 2s") {
		t.Errorf("the customer read %q", message)
	}
	for _, row := range []struct {
		user, method, path string
		asked              int
	}{
		{"anna", "POST", "/a/1", 1}, {"anna", "DELETE", "/a/2?x=1", 1}, {"anna", "GET", "/a", 1},
		{"ben", "POST", "/a/1", 2}, {"anna", "POST", "/b/1", 3}, {"anna", "POST", "/a/1", 3},
	} {
		got := s.as(row.user, row.method, row.path, transfer)
		if got.status != 201 || got.body != "booked for Bearer token-of-"+row.user {
			t.Errorf("%v: got %+v", row, got)
		}
		if n := len(op.started()); n != row.asked {
			t.Errorf("%v: asked %d times, want %d", row, n, row.asked)
		}
	}
	last := b.received()[len(b.received())-1]
	if last.header.Get("X-Approved-By") != "anna" {
		t.Errorf("header %v", last.header)
	}
	// Targets are judged as ever, and nobody is asked.
	if got := s.as("anna", "POST", "/a/%2e%2e/b", transfer); got.status != 400 {
		t.Errorf("got %+v", got)
	}
	eventually(t, "the approval to end", func() bool {
		time.Sleep(100 * time.Millisecond)
		s.as("anna", "POST", "/a/1", transfer)
		return len(op.started()) == 4
	})
}

// When the upstream does not take the token any more, the customer is asked again.
func TestReuseRefused(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", tellers+fmt.Sprintf("ciba %s {\n\treuse 1m\n}\nreverse_proxy %s", op.URL, b.addr()))
	s.as("anna", "POST", "/a", transfer)
	b.mu.Lock()
	b.handle = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	b.mu.Unlock()
	if got := s.as("anna", "POST", "/a", transfer); got.status != 401 {
		t.Errorf("got %+v", got)
	}
	b.mu.Lock()
	b.handle = nil
	b.mu.Unlock()
	if got := s.as("anna", "POST", "/a", transfer); got.status != 201 {
		t.Errorf("got %+v", got)
	}
	if n := len(op.started()); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

// A caller of whom nothing is known but the address gets one approval for one
// request.
func TestReuseAnonymous(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", fmt.Sprintf("ciba %s {\n\tcustomer alice\n\treuse 1m\n}\nreverse_proxy %s", op.URL, b.addr()))
	for n := 1; n <= 2; n++ {
		if got := s.post("/a", transfer); got.status != 201 {
			t.Errorf("got %+v", got)
		}
		if len(op.started()) != n {
			t.Errorf("asked %d times, want %d", len(op.started()), n)
		}
	}
}
