package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Where the driver lets go of everything that is held, and asks how much that is.
const (
	releasePath = "/release"
	heldPath    = "/held"
)

func init() {
	caddy.RegisterModule(Block{})
	httpcaddyfile.RegisterHandlerDirective("benchmark_block", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(Block), nil
	})
	httpcaddyfile.RegisterDirectiveOrder("benchmark_block", httpcaddyfile.Before, "invoke")
}

// Block reads the body of each request and holds the request until somebody posts
// to /release: the least that any handler needs that holds requests. It is what the
// gateway is compared with, and good for nothing else.
type Block struct {
	held *held
}

// held are the requests that wait.
type held struct {
	mu      sync.Mutex
	count   int
	release chan struct{}
}

// CaddyModule returns the Caddy module information.
func (Block) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.benchmark_block", New: func() caddy.Module { return new(Block) }}
}

// Provision makes the handler ready.
func (b *Block) Provision(caddy.Context) error {
	b.held = &held{release: make(chan struct{})}
	return nil
}

// ServeHTTP holds the request, or releases those that are held.
func (b *Block) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	switch r.URL.Path {
	case releasePath:
		b.held.mu.Lock()
		defer b.held.mu.Unlock()
		close(b.held.release)
		b.held.release, b.held.count = make(chan struct{}), 0
		w.WriteHeader(http.StatusNoContent)
		return nil
	case heldPath:
		b.held.mu.Lock()
		defer b.held.mu.Unlock()
		_, err := fmt.Fprint(w, b.held.count)
		return err
	}
	// The whole length is known, as it is to the gateway.
	body := make([]byte, max(r.ContentLength, 0))
	_, err := io.ReadFull(r.Body, body)
	if err != nil && !errors.Is(err, io.EOF) {
		return caddyhttp.Error(http.StatusBadRequest, fmt.Errorf("reading body: %w", err))
	}
	b.held.mu.Lock()
	b.held.count++
	release := b.held.release
	b.held.mu.Unlock()
	select {
	case <-release:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return next.ServeHTTP(w, r)
}
