package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// world is a running Caddy with gateway and provider, a counting upstream behind
// it, and a customer who has signed in. Caddy is one per process, so tests that
// use a world do not run beside each other; their subtests may.
type world struct {
	gateway, provider, admin string
	upstream                 *upstream
	customer                 *customer // alice
	config                   string    // the Caddyfile, which reads the environment
}

// newWorld runs testdata/outcomes.Caddyfile until the test ends.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, "outcomes.Caddyfile")
}

// newWorldOf runs a file of testdata until the test ends.
func newWorldOf(t *testing.T, file string) *world {
	t.Helper()
	p := places{gateway: "localhost:0", provider: "localhost:0", admin: "localhost:0", bank: "localhost:0"}
	err := p.fill()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{gateway: p.gatewayURL(), provider: p.providerURL(), admin: "http://" + p.admin, upstream: newUpstream(t)}
	data := t.TempDir()
	for name, value := range map[string]string{
		"ADMIN":          p.admin,
		"GATEWAY":        w.gateway,
		"PROVIDER":       p.providerURL(),
		"LIAR":           newLiar(t),
		"UPSTREAM":       w.upstream.address,
		"CLOSED":         p.bank, // a port on which nothing listens
		"CLOSED_URL":     p.bankURL(),
		"GATEWAY_SECRET": rand.Text(),
		"WRONG_SECRET":   rand.Text(),
		"XDG_DATA_HOME":  data,
	} {
		t.Setenv(name, value)
	}
	source, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	w.config = string(source)
	caddy.DefaultStorage = &certmagic.FileStorage{Path: caddy.AppDataDir()}
	caddy.ConfigAutosavePath = filepath.Join(data, "autosave.json")
	config, err := adapt(source)
	if err != nil {
		t.Fatal(err)
	}
	err = caddy.Load(config, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := caddy.Stop()
		if err != nil {
			t.Error(err)
		}
	})
	w.customer = w.signedIn(t, alice)
	return w
}

// signedIn returns a customer with a session of their own.
func (w *world) signedIn(t *testing.T, name string) *customer {
	t.Helper()
	c, err := newCustomer(w.provider)
	if err != nil {
		t.Fatal(err)
	}
	err = c.signIn(t.Context(), name, customerPassword)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// protocols are the ways in which callers reach the gateway here.
func protocols() map[string]*http.Client {
	h1, h2c := new(http.Protocols), new(http.Protocols)
	h1.SetHTTP1(true)
	h2c.SetUnencryptedHTTP2(true)
	return map[string]*http.Client{
		"h1":  {Transport: &http.Transport{Protocols: h1, DisableCompression: true}, Timeout: time.Minute},
		"h2c": {Transport: &http.Transport{Protocols: h2c, DisableCompression: true}, Timeout: time.Minute},
	}
}

// request is what a caller sends. The zero value is an empty GET.
type request struct {
	method, target, body string
	header               http.Header
}

// do sends a request and reads the whole answer.
func (w *world) do(ctx context.Context, client *http.Client, r request) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, w.gateway, strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.URL.Opaque = r.target
	for name, values := range r.header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// decide waits until alice is asked with the message, and decides.
func (w *world) decide(t *testing.T, message, decision string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := w.customer.find(ctx, message)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.customer.decide(ctx, p, decision)
	if err != nil {
		t.Fatal(err)
	}
}

// send is do in the background.
func (w *world) send(ctx context.Context, client *http.Client, r request) *held {
	h := &held{done: make(chan struct{})}
	go func() {
		defer close(h.done)
		h.answer, h.err = w.do(ctx, client, r)
	}()
	return h
}
