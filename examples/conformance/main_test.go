package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/interop/suite"
)

// wait is a fifth of what the suite waits, but not less than the second that it
// takes for the clock of tokens to go on.
func wait(d time.Duration) { time.Sleep(max(d/5, min(d, time.Second))) }

// TestSuite starts the example and plays some modules with each of the
// configurations that it has written. All modules are run by idp/interop; here
// is to be seen that the example and what it writes fit each other.
func TestSuite(t *testing.T) {
	receiver := suite.NewReceiver()
	o := options{
		host: "127.0.0.1", bind: "127.0.0.1", dir: filepath.Join(t.TempDir(), "data"), interval: time.Second,
	}
	o.suite, o.suiteCA = serveReceiver(t, receiver)
	stop := startExample(t, o)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, filepath.Join(o.dir, certificateFile)))

	wanted := []string{
		"fapi-ciba-id1", "fapi-ciba-id1-discovery-end-point-verification",
		"fapi-ciba-id1-user-rejects-authentication", // after which the user can still be asked
		"fapi-ciba-id1-ensure-mtls-holder-of-key-required",
		"fapi-ciba-id1-ensure-request-object-missing-aud-fails",
		"fapi-ciba-id1-ensure-authorization-request-with-potentially-bad-binding-message",
		"fapi-ciba-id1-ensure-different-client-id-and-issuer-in-backchannel-authorization-request",
		"fapi-ciba-id1-ensure-without-client-assertion-in-backchannel-authorization-request",
	}
	t.Run("modules", func(t *testing.T) {
		for _, v := range suite.Variants() {
			t.Run(v.String(), func(t *testing.T) {
				t.Parallel()
				c, err := suite.ParseConfig(read(t, filepath.Join(o.dir, alias+"-"+v.String()+".json")))
				if err != nil {
					t.Fatal(err)
				}
				s, err := suite.New(suite.Options{
					Config: c, Variant: v, Roots: roots, Receiver: receiver, Now: time.Now, Sleep: wait,
				})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				for _, m := range suite.Modules() {
					for _, name := range wanted {
						if m.Name == name && m.Applies(v) {
							t.Run(name, func(t *testing.T) { s.Run(t, m) })
						}
					}
				}
			})
		}
	})
	stop()
}

// TestRestart makes sure that the suite need not be told anything new after a
// restart, and that nobody else can read the keys.
func TestRestart(t *testing.T) {
	o := options{
		host: "127.0.0.1", bind: "127.0.0.1", dir: filepath.Join(t.TempDir(), "data"),
		suite: "https://suite.example", interval: time.Second,
	}
	startExample(t, o)()
	before := make(map[string][]byte)
	names, err := filepath.Glob(filepath.Join(o.dir, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 4+8+2+1 {
		t.Errorf("there are %d files: %v", len(names), names)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %s", name, info.Mode())
		}
		if !strings.HasSuffix(name, ".db") {
			before[name] = read(t, name)
		}
	}
	startExample(t, o)()
	for name, data := range before {
		after := read(t, name)
		if strings.HasSuffix(name, ".json") {
			data, after = withoutURLs(t, data), withoutURLs(t, after)
		}
		if !bytes.Equal(data, after) {
			t.Errorf("%s has changed", name)
		}
	}
}

// withoutURLs is the part of a configuration that does not depend on the ports.
func withoutURLs(t *testing.T, data []byte) []byte {
	t.Helper()
	var lines [][]byte
	for line := range bytes.Lines(data) {
		if !bytes.Contains(line, []byte("https://127.0.0.1:")) {
			lines = append(lines, line)
		}
	}
	if len(lines) < 20 {
		t.Fatal("the configuration is too short")
	}
	return bytes.Join(lines, nil)
}

// TestRefuses starts with mistakes.
func TestRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	with := func(more ...string) []string {
		common := []string{"-dir", dir, "-plain", "0", "-mtls", "0", "-host", "127.0.0.1", "-bind", "127.0.0.1"}
		return append(common, more...)
	}
	for name, args := range map[string][]string{
		"argument":        with("extra"),
		"flag":            with("-none"),
		"suite over http": with("-suite", "http://suite.example"),
		"no such file":    with("-suite-ca", filepath.Join(dir, "none.pem")),
		"no certificate":  with("-cert", filepath.Join(dir, "none.pem")),
		"port":            with("-plain", "99999"),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := run(ctx, args, io.Discard)
		if err == nil || ctx.Err() != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// startExample starts the example, waits until it serves, and returns what stops it.
func startExample(t *testing.T, o options) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(ctx, o, writer)
		writer.CloseWithError(io.EOF)
		ended <- err
	}()
	var out bytes.Buffer
	buffer := make([]byte, 4096)
	for !strings.Contains(out.String(), "Ctrl-C stops it.") {
		n, err := reader.Read(buffer)
		out.Write(buffer[:n])
		if err != nil {
			t.Fatalf("the example says %q and ends: %v", &out, <-ended)
		}
	}
	return func() {
		t.Helper()
		cancel()
		err := <-ended
		if err != nil {
			t.Errorf("stopping: %v", err)
		}
	}
}

// serveReceiver serves the suite's notification endpoint. It returns its URL and a
// file with its certificate.
func serveReceiver(t *testing.T, handler http.Handler) (string, string) {
	t.Helper()
	certificate, err := suite.NewCertificate("suite", time.Now(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(certificate.Certificate), []byte(certificate.Key))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "suite.pem")
	err = os.WriteFile(file, []byte(certificate.Certificate), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: timeout, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		err := server.Close()
		if err != nil {
			t.Errorf("closing: %v", err)
		}
		<-served
	})
	return "https://" + listener.Addr().String(), file
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
