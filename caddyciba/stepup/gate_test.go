package stepup

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestApprovedRequestIsSentWithToken(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	answer := b.do("POST", "http://bank.example/v1/transfers?x=1", `{"amount":10}`, http.Header{
		"Content-Type":  {"application/json"},
		"Authorization": {"Bearer of-the-caller"},
	})
	if answer.Code != http.StatusCreated {
		t.Fatalf("status is %d: %s", answer.Code, answer.Body)
	}
	if upstream.count() != 1 || upstream.bodies[0] != `{"amount":10}` {
		t.Errorf("upstream has seen %q", upstream.bodies)
	}
	if got := upstream.header.Values("Authorization"); !slices.Equal(got, []string{"Bearer " + testToken}) {
		t.Errorf("Authorization is %q", got)
	}
	tx := b.only(t)
	if tx.State != StateAnswered || tx.Status != http.StatusCreated || tx.Target != "/v1/transfers" {
		t.Errorf("transaction is %+v", tx)
	}
	want := []EventType{EventRequested, EventApproved, EventSent, EventAnswered}
	if got := b.events.types(); !slices.Equal(got, want) {
		t.Errorf("events are %v, want %v", got, want)
	}
	message := b.client.requests[0].BindingMessage
	if message != "Pay "+tx.Digest[:8] || !strings.HasPrefix(message, "Pay ") {
		t.Errorf("binding message is %q, digest %q", message, tx.Digest)
	}
	held, bytes := b.gate.Held()
	if held != 0 || bytes != 0 {
		t.Errorf("%d requests and %d bytes are still held", held, bytes)
	}
}
