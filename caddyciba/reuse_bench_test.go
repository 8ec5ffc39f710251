package caddyciba

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BenchmarkReuse is what a gate costs a request that an earlier approval covers,
// all of it but the upstream. The goal is 3 µs.
func BenchmarkReuse(b *testing.B) {
	op := newFakeOP(b)
	op.setDecision(approve)
	config, err := adapt(b, fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tciba {\n\t\tstore memory bench\n\t}\n}\nhttp://127.0.0.1:0 {\n\tciba %s {\n\t\treuse 1h\n\t}\n}\n", op.URL))
	if err != nil {
		b.Fatal(err)
	}
	err = caddy.Load(config, true)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()
	ctx, cancel := caddy.NewContext(caddy.ActiveContext())
	defer cancel()
	h := &Handler{Issuer: op.URL, Reuse: caddy.Duration(3600e9)}
	err = h.Provision(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = h.Cleanup() }()
	sent := 0
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		sent++
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
	request := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/transfers", strings.NewReader(transfer))
		r.Header.Set("Content-Type", "application/json")
		repl := caddy.NewReplacer()
		repl.Set(userKey, "anna")
		ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
		return r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{}))
	}
	err = h.ServeHTTP(httptest.NewRecorder(), request(), next)
	if err != nil || sent != 1 {
		b.Fatalf("%d sent, %v", sent, err)
	}
	var made [200]*http.Request
	w := &discarded{header: http.Header{}}
	b.ReportAllocs()
	for i := range b.N {
		// Requests are made outside of what is measured, some at a time, as
		// stopping the clock is not free.
		if i%len(made) == 0 {
			b.StopTimer()
			for j := range made {
				made[j] = request()
			}
			runtime.GC() // of the garbage of making them, which is not the gate's
			b.StartTimer()
		}
		_ = h.ServeHTTP(w, made[i%len(made)], next)
	}
	if asked := len(op.started()); asked != 1 || sent < 2 {
		b.Errorf("asked %d times for %d requests", asked, sent)
	}
}

// discarded is an answer that nobody reads.
type discarded struct{ header http.Header }

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }
func (d *discarded) WriteHeader(int)             {}
