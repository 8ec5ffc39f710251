package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// TestAuto does what `go run ./examples/wiretransfer -auto` does: all scenarios
// over real HTTP, and a look at the ledger after each.
func TestAuto(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-auto", "-data", t.TempDir()}, &out)
	t.Logf("transcript:\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "The ledger shows exactly what was approved.") {
		t.Error("the transcript does not say how it ended")
	}
}

// TestStartAndStop starts the example as a newcomer does, tries what it prints,
// and presses Ctrl-C while a transfer is waiting.
func TestStartAndStop(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-gateway", "localhost:0", "-provider", "localhost:0", "-bank", "127.0.0.1:0"}, writer)
		writer.Close()
		ended <- err
	}()
	text := readUntil(t, reader, "Ctrl-C stops everything.")
	gateway := addressOf(t, text, "gateway")
	for _, word := range []string{customerUser, customerPassword, "curl -i -u teller:teller-demo " + gateway, "examples/teller"} {
		if !strings.Contains(text, word) {
			t.Errorf("the welcome does not mention %q", word)
		}
	}
	resp, err := http.Get(gateway + "/v1/accounts")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a password: %s", resp.Status)
	}

	c, err := newCustomer(addressOf(t, text, "provider"))
	if err != nil {
		t.Fatal(err)
	}
	err = c.signIn(t.Context(), customerUser, customerPassword)
	if err != nil {
		t.Fatal(err)
	}
	// A transfer that is waiting must not keep the example from stopping, and its
	// teller is told what became of it.
	waiting := make(chan string, 1)
	go func() {
		a, err := newTeller(gateway).do(t.Context(), "POST", transfers, newOrder("1.00", "never").body())
		if err != nil {
			waiting <- err.Error()
			return
		}
		name, p, err := a.problem()
		waiting <- fmt.Sprint(a.status, " ", name, " forwarded ", p.Forwarded, " retry after ", a.header.Get("Retry-After"), " ", err)
	}()
	_, err = c.find(t.Context(), newOrder("1.00", "never").message())
	if err != nil {
		t.Fatal(err)
	}

	interrupt()
	go io.Copy(io.Discard, reader)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("stopping: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the example does not stop")
	}
	if got, want := <-waiting, "503 gateway-unavailable forwarded false retry after 5 <nil>"; got != want {
		t.Errorf("the waiting teller got %s, want %s", got, want)
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s was left behind", entry.Name())
	}
}

// TestPortTaken shows that a port that is in use is said in plain words.
func TestPortTaken(t *testing.T) {
	p := places{bank: "127.0.0.1:0", gateway: "localhost:0", provider: "localhost:0", data: t.TempDir()}
	err := p.fill()
	if err != nil {
		t.Fatal(err)
	}
	stop, err := serveBank(p.bank, http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	err = run(t.Context(), []string{"-bank", p.bank, "-gateway", p.gateway, "-provider", p.provider, "-data", p.data}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

// TestCaddyfileIsFormatted keeps the file as `caddy fmt` would write it, so that
// a reader who copies it sees no warning.
func TestCaddyfileIsFormatted(t *testing.T) {
	if got := caddyfile.Format(exampleCaddyfile); !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(exampleCaddyfile)) {
		t.Errorf("caddy fmt would write:\n%s", got)
	}
}

// readUntil collects output until a text has come.
func readUntil(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	chunk := make([]byte, 4096)
	for !strings.Contains(all.String(), text) {
		n, err := r.Read(chunk)
		all.Write(chunk[:n])
		if err != nil {
			t.Fatalf("the output ended before %q: %v\n%s", text, err, all.String())
		}
	}
	return all.String()
}

// addressOf returns the address that the welcome gives for a name.
func addressOf(t *testing.T, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == name {
			return words[1]
		}
	}
	t.Fatalf("no line for %s in:\n%s", name, text)
	return ""
}

// TestTellerClient runs the console client of examples/teller against the
// example, with the flags that the welcome would print.
func TestTellerClient(t *testing.T) {
	p := startExample(t)
	c, err := newCustomer(p.providerURL())
	if err != nil {
		t.Fatal(err)
	}
	err = c.signIn(t.Context(), customerUser, customerPassword)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // it is compiled first
	defer cancel()
	args := append([]string{"run", "../teller", "-binding-message", "TUTORIAL42"}, strings.Fields(tellerFlags(p))...)
	command := exec.CommandContext(ctx, "go", args...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Start()
	if err != nil {
		t.Fatal(err)
	}
	page, err := c.find(ctx, "TUTORIAL42")
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	time.Sleep(1500 * time.Millisecond) // for a poll that finds the request pending
	_, err = c.decide(ctx, page, decisionApprove)
	if err != nil {
		t.Fatal(err)
	}
	err = command.Wait()
	t.Logf("output:\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"binding message  TUTORIAL42", "poll 1 ", "authorization_pending", "Approved by alice", "my_wire_transfer_scope", "  sub  "} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the output does not contain %q", text)
		}
	}
}
