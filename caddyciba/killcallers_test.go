package caddyciba

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// A killedRequest is what is known of one request to a Caddy that gets killed.
type killedRequest struct {
	number   int
	key      string // of a held one
	browser  bool   // it waits on a page
	location string // empty if it was not acknowledged
	cookie   string // of a browser
}

func (r *killedRequest) String() string {
	how := "async"
	switch {
	case r.key != "":
		how = "held"
	case r.browser:
		how = "in a browser"
	}
	return fmt.Sprintf("request %d, %s", r.number, how)
}

// numbered is a transfer that the upstream can tell from the others.
func numbered(n int) string {
	return fmt.Sprintf(`{"debtor":{"customer_id":"alice"},"creditor":{"name":"Bob"},"amount":"%d.00","currency":"EUR"}`, n)
}

// timesSeen is how often each request has reached the upstream. One without a body
// counts for none, and is an error.
func timesSeen(b *bank) (map[int]int, error) {
	seen := make(map[int]int)
	for _, r := range b.received() {
		var body struct{ Amount string }
		var number int
		if r.broken {
			continue // who sent it was killed, and no upstream can carry it out
		}
		err := json.Unmarshal([]byte(r.body), &body)
		if err == nil {
			_, err = fmt.Sscanf(body.Amount, "%d.00", &number)
		}
		if err != nil {
			return nil, fmt.Errorf("the upstream got %q: %w", r.body, err)
		}
		seen[number]++
	}
	return seen, nil
}

// seenTimes is how often one request has reached the upstream, or -1 if something has
// that is none of these.
func seenTimes(b *bank, n int) int {
	seen, err := timesSeen(b)
	if err != nil {
		return -1
	}
	return seen[n]
}

// send sends a request for the first time, and stays with it as long as there is
// somebody to talk to.
func (r *killedRequest) send(s *site) {
	header := http.Header{"Content-Type": {"application/json"}}
	switch {
	case r.key != "":
		header.Set("Idempotency-Key", r.key)
	case r.browser:
		header.Set("Sec-Fetch-Mode", "navigate")
		header.Set("Sec-Fetch-Dest", "document")
	default:
		header.Set("Prefer", "respond-async")
	}
	got := s.do(http.MethodPost, "/transfers", numbered(r.number), header)
	if got.status != http.StatusAccepted && got.status != http.StatusSeeOther {
		return
	}
	r.location = got.header.Get("Location")
	if !r.browser {
		return
	}
	r.cookie, _, _ = strings.Cut(got.header.Get("Set-Cookie"), ";")
	for range 50 {
		done, err := r.look(s)
		if done || err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// look looks at the waiting page and goes on if it says that the customer has
// approved. It reports whether there is nothing more to do on the page.
func (r *killedRequest) look(s *site) (bool, error) {
	header := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Cookie": {r.cookie}}
	page := s.do(http.MethodGet, r.location, "", header)
	if page.err != nil {
		return false, page.err
	}
	action := formAction.FindStringSubmatch(page.body)
	if !strings.Contains(page.body, "ciba_continue") || action == nil {
		return page.status == http.StatusSeeOther, nil
	}
	values := url.Values{}
	for _, field := range formField.FindAllStringSubmatch(page.body, -1) {
		values.Set(field[1], field[2])
	}
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	header.Set("Origin", "http://"+s.addr)
	got := s.do(http.MethodPost, strings.ReplaceAll(action[1], "&amp;", "&"), values.Encode(), header)
	return true, got.err
}

// end waits for the end of an acknowledged transaction.
func (r *killedRequest) end(s *site) (stepup.Status, error) {
	var status stepup.Status
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if r.browser {
			_, err := r.look(s)
			if err != nil {
				return status, err
			}
		}
		header := http.Header{}
		if r.cookie != "" {
			header.Set("Cookie", r.cookie)
		}
		got := s.do(http.MethodGet, r.location, "", header)
		if got.status == http.StatusOK {
			err := json.Unmarshal([]byte(got.body), &status)
			if err != nil || status.State.Final() {
				return status, err
			}
		} else if got.status != http.StatusTooManyRequests {
			return status, fmt.Errorf("status is %+v", got)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return status, fmt.Errorf("it is still %s", status.State)
}

// truly compares how a transaction is said to have ended with how often it was sent.
func truly(state stepup.State, sent int) bool {
	switch state {
	case stepup.StateAnswered:
		return sent == 1
	case stepup.StateInDoubt:
		return sent <= 1
	default:
		return sent == 0
	}
}

// back is a caller that comes back with its key for the answer. It reports whether
// what it is told goes with how often the request was sent by then.
func (r *killedRequest) back(s *site) (answer, func(sent int) bool) {
	got := s.do(http.MethodPost, "/transfers", numbered(r.number), http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {r.key}})
	return got, func(sent int) bool {
		switch {
		case got.status == http.StatusCreated:
			return sent == 1
		case got.status == http.StatusConflict:
			return sent <= 1
		case got.status == http.StatusForbidden && strings.Contains(got.body, "approval-denied"):
			// The customer had decided when the process was killed, and nobody knew yet.
			return sent == 0
		}
		return false
	}
}
