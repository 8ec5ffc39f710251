package main

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Caller{})
	httpcaddyfile.RegisterHandlerDirective("benchmark_caller", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(Caller), nil
	})
	httpcaddyfile.RegisterDirectiveOrder("benchmark_caller", httpcaddyfile.Before, "basic_auth")
}

// Caller stands for what authenticates callers, on both sides alike and at no cost:
// it believes what a header says. It is good for nothing else.
type Caller struct{}

// CaddyModule returns the Caddy module information.
func (Caller) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.benchmark_caller", New: func() caddy.Module { return new(Caller) }}
}

// ServeHTTP names the caller.
func (Caller) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if ok {
		repl.Set("http.auth.user.id", r.Header.Get("X-Customer"))
	}
	return next.ServeHTTP(w, r)
}
