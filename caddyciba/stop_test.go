package caddyciba

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// childConfig is the environment variable that makes the test binary be a Caddy
// with the configuration in that file, which signals end as they do `caddy run`.
const childConfig = "CIBA_TEST_CHILD_CONFIG"

func beChild(file string) {
	config, err := os.ReadFile(file)
	if err == nil {
		err = caddy.Load(config, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	caddy.TrapSignals()
	fmt.Println("running")
	select {}
}

// When Caddy stops, what waits for approval is answered at once, and no prompt
// is left that would approve nothing.
func TestStopWhileHeld(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, gateBlock(op, b))
	done := s.postLater("/transfers", transfer)
	op.waitStarted(1)
	began := time.Now()
	err := caddy.Stop()
	if err != nil {
		t.Fatal(err)
	}
	got := <-done
	got.wantProblem(t, http.StatusServiceUnavailable, "gateway-unavailable", false)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if took := time.Since(began); took > 2*drainTimeout {
		t.Errorf("stopping took %s", took)
	}
	b.wantCount(t, 0)
}

// What is being sent when Caddy stops gets its answer, and Stop waits for it.
func TestStopWhileSending(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	finish, arrived := make(chan struct{}), make(chan struct{})
	b.handle = func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		w.WriteHeader(http.StatusCreated)
	}
	s := startSite(t, memoryStore, gateBlock(op, b))
	done := s.postLater("/transfers", transfer)
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- caddy.Stop() }()
	select {
	case err := <-stopped:
		t.Errorf("stopped while a request was being sent: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(finish)
	if got := <-done; got.err != nil || got.status != http.StatusCreated {
		t.Errorf("got %+v", got)
	}
	err := <-stopped
	if err != nil {
		t.Error(err)
	}
}

// The same in a process of its own that gets the signal of Ctrl-C: the caller
// gets an answer, the process ends by itself, and nothing is logged as an error.
func TestSignalWhileHeld(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := newSite(t, memoryStore+"\n\tgrace_period 10s")
	config, err := adapt(t, s.build(gateBlock(op, b)))
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/caddy.json"
	err = os.WriteFile(file, config, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childConfig+"="+file)
	var logged bytes.Buffer
	command.Stderr = &logged
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = command.Start()
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadFull(out, make([]byte, len("running")))
	if err != nil {
		t.Fatalf("starting: %v\n%s", err, &logged)
	}
	done := s.postLater("/transfers", transfer)
	op.waitStarted(1)
	began := time.Now()
	err = command.Process.Signal(os.Interrupt)
	if err != nil {
		t.Fatal(err)
	}
	(<-done).wantProblem(t, http.StatusServiceUnavailable, "gateway-unavailable", false)
	err = command.Wait()
	if err != nil {
		t.Errorf("exit: %v", err)
	}
	if took := time.Since(began); took > 2*drainTimeout {
		t.Errorf("exit took %s", took)
	}
	if strings.Contains(logged.String(), `"level":"error"`) || strings.Contains(logged.String(), "ERROR") {
		t.Errorf("logged errors:\n%s", &logged)
	}
	b.wantCount(t, 0)
}
