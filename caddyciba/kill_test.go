package caddyciba

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// killCycles is how often the process is killed: by the environment, or a few
// times.
func killCycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CIBA_KILL_CYCLES")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CIBA_KILL_CYCLES: %v", err)
	}
	return n
}

// spawn starts a Caddy in a process of its own and waits until it serves.
func spawn(t *testing.T, file string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childConfig+"="+file)
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err == nil {
		_, err = io.ReadFull(out, make([]byte, len("running")))
	}
	if err != nil {
		t.Fatalf("starting Caddy: %v", err)
	}
	return command
}

// sentRequest is what is known of one request to a Caddy that gets killed.
type sentRequest struct {
	number   int
	location string // empty if it was not acknowledged
	key      string // of a held one
}

// Caddy is killed at random moments while requests wait, are approved and are
// sent, and is started again. Each request is sent at most once; each one that was
// acknowledged comes to an end that its caller can see, and the end is true
// (INV-1, INV-5, INV-6).
func TestKilled(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(n)
	}
	op.decide = func(*fakeRequest) fakeDecision {
		switch n := roll(10); {
		case n < 6:
			return approve
		case n < 7:
			return deny
		default:
			return pending
		}
	}
	b.handle = func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Duration(roll(200)) * time.Millisecond)
		w.WriteHeader(http.StatusCreated)
	}
	s := newSite(t, boltStore(t))
	config, err := adapt(t, s.build(gateBlock(op, b)))
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/caddy.json"
	err = os.WriteFile(file, config, 0o600)
	if err != nil {
		t.Fatal(err)
	}

	var all []*sentRequest
	number := 0
	for range killCycles(t) {
		command := spawn(t, file)
		time.AfterFunc(time.Duration(roll(1200))*time.Millisecond, func() { _ = command.Process.Kill() })
		var callers sync.WaitGroup
		for range 6 {
			number++
			r := &sentRequest{number: number}
			all = append(all, r)
			if roll(3) == 0 {
				r.key = fmt.Sprint("key-", number)
			}
			callers.Go(func() {
				time.Sleep(time.Duration(roll(300)) * time.Millisecond)
				if r.key != "" {
					s.do(http.MethodPost, "/transfers", numbered(r.number), http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {r.key}})
					return
				}
				got := s.do(http.MethodPost, "/transfers", numbered(r.number), http.Header{"Content-Type": {"application/json"}, "Prefer": {"respond-async"}})
				if got.status == http.StatusAccepted {
					r.location = got.header.Get("Location")
				}
			})
		}
		_ = command.Wait()
		callers.Wait()
	}

	op.setDecision(approve)
	command := spawn(t, file)
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	ends := make(map[stepup.State]int)
	for _, r := range all {
		if r.location != "" {
			status := s.ended(r.location, nil)
			ends[status.State]++
			wantSeen(t, b, r.number, status)
			continue
		}
		if r.key == "" {
			if n := seenTimes(b, r.number); n > 1 {
				t.Errorf("request %d was sent %d times", r.number, n)
			}
			continue
		}
		// Its caller comes back for the answer.
		got := s.do(http.MethodPost, "/transfers", numbered(r.number), http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {r.key}})
		n := seenTimes(b, r.number)
		switch {
		case got.status == http.StatusCreated && n == 1, got.status == http.StatusConflict && n <= 1:
		case got.status == http.StatusForbidden && strings.Contains(got.body, "approval-denied") && n == 0:
			// The customer had decided when the process was killed, and nobody knew yet.
		default:
			t.Errorf("request %d: %+v, sent %d times", r.number, got, n)
		}
	}
	t.Logf("%d requests; ends of the acknowledged: %v", len(all), ends)
	if ends[stepup.StateAnswered] == 0 {
		t.Error("none was answered: this proves nothing")
	}
}

// numbered is a transfer that the upstream can tell from the others.
func numbered(n int) string {
	return fmt.Sprintf(`{"debtor":{"customer_id":"alice"},"creditor":{"name":"Bob"},"amount":"%d.00","currency":"EUR"}`, n)
}

// seenTimes is how often a request has reached the upstream.
func seenTimes(b *bank, n int) int {
	count := 0
	for _, r := range b.received() {
		var body struct{ Amount string }
		err := json.Unmarshal([]byte(r.body), &body)
		if err == nil && body.Amount == fmt.Sprintf("%d.00", n) || r.body == "" {
			count++
		}
	}
	return count
}

// wantSeen compares how a transaction is said to have ended with what has reached
// the upstream.
func wantSeen(t *testing.T, b *bank, number int, status stepup.Status) {
	t.Helper()
	n := seenTimes(b, number)
	ok := n == 0
	switch status.State {
	case stepup.StateAnswered:
		ok = n == 1
	case stepup.StateInDoubt:
		ok = n <= 1
	}
	if !ok {
		t.Errorf("request %d is %s (%s) and was sent %d times", number, status.State, status.Problem, n)
	}
}
