package caddyciba

import (
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
	"github.com/caddyciba/gateway/caddyciba/store/storetest"
)

// killCycles is how often processes are killed, all lanes together.
func killCycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CIBA_KILL_CYCLES")
	if text == "" {
		if racing {
			return 24
		}
		return 200
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CIBA_KILL_CYCLES: %v", err)
	}
	return n
}

// launch starts a Caddy in a process of its own. The channel gives what has come of
// it when it serves, or has died.
func launch(t *testing.T, file string) (*exec.Cmd, <-chan error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childConfig+"="+file)
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	running := make(chan error, 1)
	if err != nil {
		t.Errorf("starting Caddy: %v", err)
		running <- err
		return command, running
	}
	go func() {
		_, err := io.ReadFull(out, make([]byte, len("running")))
		running <- err
	}()
	return command, running
}

// spawn starts a Caddy in a process of its own and waits until it serves.
func spawn(t *testing.T, file string) *exec.Cmd {
	t.Helper()
	command, running := launch(t, file)
	err := <-running
	if err != nil {
		end(command)
		t.Fatalf("starting Caddy: %v", err)
	}
	return command
}

// end kills a process that was started.
func end(command *exec.Cmd) {
	if command.Process != nil {
		_ = command.Process.Kill()
	}
}

// A lane is a Caddy with a store of its own, which is killed and started again. It
// takes turns of being up and being dead beside other lanes.
type lane struct {
	t    *testing.T
	site *site
	file string
	dice *rand.Rand
	all  []*killedRequest
}

// newLane writes a configuration; numbers are those of its requests.
func newLane(t *testing.T, op *fakeOP, b *bank, global string) *lane {
	t.Helper()
	l := &lane{t: t, site: newSite(t, global), file: t.TempDir() + "/caddy.json"}
	l.dice = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	config, err := adapt(t, l.site.build(gateBlock(op, b)))
	if err == nil {
		err = os.WriteFile(l.file, config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lane) roll(most time.Duration) time.Duration {
	return time.Duration(l.dice.Int64N(int64(most)))
}

// cycle is one life of the process: it is killed while requests wait, are approved
// and are sent, or while it starts. The requests have the numbers from first on.
func (l *lane) cycle(command *exec.Cmd, running <-chan error, first int) {
	kill := func() { end(command) }
	if l.dice.IntN(5) == 0 {
		time.AfterFunc(l.roll(500*time.Millisecond), kill)
	}
	err := <-running
	if err != nil {
		_ = command.Wait()
		return
	}
	time.AfterFunc(l.roll(900*time.Millisecond), kill)
	var callers sync.WaitGroup
	for i := range killRequests {
		r := &killedRequest{number: first + i}
		switch l.dice.IntN(3) {
		case 0:
			r.key = fmt.Sprint("key-", r.number)
		case 1:
			r.browser = true
		}
		l.all = append(l.all, r)
		begin := l.roll(300 * time.Millisecond)
		callers.Go(func() {
			time.Sleep(begin)
			r.send(l.site)
		})
	}
	_ = command.Wait()
	callers.Wait()
}

const killRequests = 6 // of one cycle

// killedWorld is a provider whose customers decide at random, and an upstream that
// takes its time.
func killedWorld(t *testing.T) (*fakeOP, *bank) {
	t.Helper()
	op, b := newFakeOP(t), newBank(t)
	op.decide = func(*fakeRequest) fakeDecision {
		switch n := rand.IntN(10); {
		case n < 6:
			return approve
		case n < 7:
			return deny
		default:
			return pending
		}
	}
	b.handle = func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(rand.N(200 * time.Millisecond))
		w.WriteHeader(http.StatusCreated)
	}
	return op, b
}

// Caddy is killed at random moments while requests wait, are approved and are
// sent, and is started again, in several lanes at once. Each request is sent at most
// once; each one that was acknowledged comes to an end that its caller can see, and
// the end is true (INV-1, INV-5, INV-6).
func TestKilled(t *testing.T) {
	const lanes = 5
	op, b := killedWorld(t)
	cycles := killCycles(t)
	var all [lanes]*lane
	for i := range all {
		all[i] = newLane(t, op, b, boltStore(t))
	}
	var group sync.WaitGroup
	for i, l := range all {
		group.Go(func() {
			for c := i; c < cycles; c += lanes {
				command, running := launch(t, l.file)
				l.cycle(command, running, c*killRequests)
			}
		})
	}
	group.Wait()
	op.setDecision(approve)
	ends := make(map[stepup.State]int)
	var mu sync.Mutex
	for _, l := range all {
		group.Go(func() {
			for state, n := range l.settle(b) {
				mu.Lock()
				ends[state] += n
				mu.Unlock()
			}
		})
	}
	group.Wait()
	sent := 0
	seen, err := timesSeen(b)
	if err != nil {
		t.Error(err)
	}
	for number, n := range seen {
		sent += n
		if n != 1 {
			t.Errorf("request %d was sent %d times", number, n)
		}
	}
	t.Logf("%d cycles, %d requests, %d sent; ends of the acknowledged: %v", cycles, cycles*killRequests, sent, ends)
	if ends[stepup.StateAnswered] == 0 || ends[stepup.StateInDoubt] == 0 && cycles >= 50 {
		t.Error("none was answered, or none was cut off: this proves nothing")
	}
}

// settle starts the lane's Caddy for the last time and brings all of its requests
// to their ends.
func (l *lane) settle(b *bank) map[stepup.State]int {
	command, running := launch(l.t, l.file)
	defer func() {
		end(command)
		_ = command.Wait()
	}()
	ends := make(map[stepup.State]int)
	err := <-running
	if err != nil {
		l.t.Errorf("Caddy does not start any more: %v", err)
		return ends
	}
	states := make(map[int]stepup.State)
	backs := make(map[int]func(int) bool)
	answers := make(map[int]answer)
	for _, r := range l.all {
		switch {
		case r.location != "":
			status, err := r.end(l.site)
			if err != nil {
				l.t.Errorf("%s: %v", r, err)
				continue
			}
			states[r.number] = status.State
			ends[status.State]++
		case r.key != "":
			answers[r.number], backs[r.number] = r.back(l.site)
		}
	}
	seen, err := timesSeen(b)
	if err != nil {
		l.t.Error(err)
	}
	for _, r := range l.all {
		state, ok := states[r.number]
		if ok && !truly(state, seen[r.number]) {
			l.t.Errorf("%s is %s and was sent %d times", r, state, seen[r.number])
		}
		fits := backs[r.number]
		if fits != nil && !fits(seen[r.number]) {
			l.t.Errorf("%s got %+v, sent %d times", r, answers[r.number], seen[r.number])
		}
	}
	return ends
}

// Two nodes share a PostgreSQL, and both are killed again and again: what one has
// left is not sent once more by the other.
func TestKilledOnPostgres(t *testing.T) {
	server := storetest.StartPostgres(t, "fsync=off")
	op, b := killedWorld(t)
	database := server.Database(t)
	global := "\tciba {\n\t\tstore postgres " + database + "\n\t}"
	var group sync.WaitGroup
	const cycles = 5
	var both [2]*lane
	for i := range both {
		both[i] = newLane(t, op, b, global)
		group.Go(func() {
			for c := range cycles {
				command, running := launch(t, both[i].file)
				both[i].cycle(command, running, (c*len(both)+i)*killRequests)
			}
		})
	}
	group.Wait()
	op.setDecision(approve)
	// Those that have come back ask for what they began at the other node.
	command, running := launch(t, both[0].file)
	defer func() {
		end(command)
		_ = command.Wait()
	}()
	err := <-running
	if err != nil {
		t.Fatalf("Caddy does not start any more: %v", err)
	}
	for _, r := range both[1].all {
		if r.location == "" {
			continue
		}
		header := http.Header{}
		if r.cookie != "" {
			header.Set("Cookie", r.cookie)
		}
		got := both[0].site.do(http.MethodGet, r.location, "", header)
		if got.status != http.StatusOK || !strings.Contains(got.body, `"state":"`) {
			t.Errorf("%s: the other node says %+v", r, got)
		}
	}
	seen, err := timesSeen(b)
	if err != nil {
		t.Error(err)
	}
	for number, n := range seen {
		if n != 1 {
			t.Errorf("request %d was sent %d times", number, n)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing was sent: this proves nothing")
	}
}
