//go:build unix

package caddyciba

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/store/storetest"
)

// A node is one of several processes with the same configuration and one database.
type node struct {
	*site
	process *exec.Cmd
}

func (n *node) kill() {
	_ = n.process.Process.Kill()
	_ = n.process.Wait()
}

func startNode(t *testing.T, database, body string) *node {
	t.Helper()
	s := newSite(t, "\tciba {\n\t\tstore postgres {env.CIBA_TEST_DATABASE}\n\t}")
	t.Setenv("CIBA_TEST_DATABASE", database)
	// Callers come through something that spreads them, and name the same host.
	s.host = "bank.example"
	config, err := adapt(t, strings.Replace(s.build(body), "\nhttp://127.0.0.1:", "\nhttp://bank.example:", 1))
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/caddy.json"
	err = os.WriteFile(file, config, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{site: s, process: spawn(t, file)}
	t.Cleanup(n.kill)
	return n
}

// Two processes share a database: each answers for the requests of the other, what is
// waiting at one is not asked about by the other, and when one is killed the other
// goes on with what it has left, once (INV-1, INV-5, INV-6).
func TestNodes(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	database := storetest.StartPostgres(t, "fsync=off").Database(t)
	body := strings.Replace(gateBlock(op, b), "hold     20s", "hold     100s", 1)
	first, second := startNode(t, database, body), startNode(t, database, body)
	asked := 0
	begin := func(number int, header http.Header) string {
		t.Helper()
		location := first.async("/transfers", numbered(number), header)
		asked++
		op.waitStarted(asked)
		return location
	}
	json := http.Header{"Content-Type": {"application/json"}}

	t.Run("called off at the other", func(t *testing.T) {
		op.setDecision(pending)
		location := begin(1, nil)
		if status := second.status(location, nil); status.State != stepup.StateRequested || status.CancelURL == nil {
			t.Errorf("status at the other is %+v", status)
		}
		if got := second.do(http.MethodDelete, location, "", nil); got.status != http.StatusOK {
			t.Errorf("cancelling: %+v", got)
		}
		op.setDecision(approve)
		if status := first.ended(location, nil); status.State != stepup.StateCancelled {
			t.Errorf("ended as %+v", status)
		}
		if n := seenTimes(b, 1); n != 0 {
			t.Errorf("sent %d times", n)
		}
	})

	t.Run("identical at the other", func(t *testing.T) {
		op.setDecision(pending)
		location := begin(2, nil)
		got := second.do(http.MethodPost, "/transfers", numbered(2), json)
		got.wantProblem(t, http.StatusConflict, "identical-request-pending", false)
		op.setDecision(approve)
		if status := second.ended(location, nil); status.State != stepup.StateAnswered || status.ResultURL == nil {
			t.Errorf("ended as %+v", status)
		} else if got := second.do(http.MethodGet, *status.ResultURL, "", nil); got.status != http.StatusCreated {
			t.Errorf("result at the other is %+v", got)
		}
		if n := seenTimes(b, 2); n != 1 || len(op.started()) != asked {
			t.Errorf("sent %d times, asked %d times", n, len(op.started()))
		}
	})

	t.Run("killed", func(t *testing.T) {
		op.setDecision(pending)
		key := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"k3"}}
		keyed, plain := begin(3, key), begin(4, nil)
		killed := time.Now()
		first.kill()
		op.setDecision(approve)
		for number, at := range map[int]string{3: keyed, 4: plain} {
			if status := second.endedWithin(time.Minute, at, nil); status.State != stepup.StateAnswered {
				t.Errorf("request %d ended as %+v", number, status)
			}
			if n := seenTimes(b, number); n != 1 {
				t.Errorf("request %d was sent %d times", number, n)
			}
		}
		t.Logf("the other had gone on after %s", time.Since(killed).Round(time.Second))
		// The caller who never heard comes back with the same key.
		again := second.do(http.MethodPost, "/transfers", numbered(3), key)
		if again.status != http.StatusCreated || !strings.HasPrefix(again.body, "booked for Bearer") || seenTimes(b, 3) != 1 {
			t.Errorf("the same key again: %+v, sent %d times", again, seenTimes(b, 3))
		}
	})

	t.Run("operator", func(t *testing.T) {
		op.setDecision(pending)
		first = startNode(t, database, body)
		location := begin(5, nil)
		var list []*stepup.Transaction
		for state, want := range map[string]int{"answered": 3, "requested": 1} {
			if status := second.ask(http.MethodGet, "transactions?state="+state, "", &list); status != http.StatusOK || len(list) != want {
				t.Fatalf("status %d, %d transactions are %s, want %d", status, len(list), state, want)
			}
		}
		id := first.status(location, nil).ID
		if status := second.ask(http.MethodPost, "transactions/"+id+"/cancel", "", nil); status != http.StatusOK {
			t.Errorf("cancelling at the other: status %d", status)
		}
		op.setDecision(approve)
		if status := first.ended(location, nil); status.State != stepup.StateCancelled || seenTimes(b, 5) != 0 {
			t.Errorf("ended as %+v, sent %d times", status, seenTimes(b, 5))
		}
	})
}
