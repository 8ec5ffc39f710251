package caddyciba

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What reverse_proxy says when it has tried nothing. It has no exported error for
// either.
const (
	noUpstream  = "no upstreams available"
	noDialInfo  = "making dial info: "
	upstreamKey = "http.reverse_proxy.upstream.address"
)

// neverProxied reports whether an error of reverse_proxy says that no upstream was
// tried. It returns the first of them only where there was no error before, that
// is, no attempt. The second one may follow an attempt, of which the placeholder
// with the upstream's address tells.
func neverProxied(ctx context.Context, err error) bool {
	failed, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok || failed.Err == nil {
		return false
	}
	if failed.StatusCode == http.StatusServiceUnavailable && failed.Err.Error() == noUpstream {
		return true
	}
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false
	}
	address, _ := repl.GetString(upstreamKey)
	return address == "" && strings.HasPrefix(failed.Err.Error(), noDialInfo)
}

// unhandled reports whether a request has come to the end of all routes, where
// Caddy answers 200 without a body.
func unhandled(ctx context.Context) bool {
	ended, _ := caddyhttp.GetVar(ctx, "unhandled").(bool)
	return ended
}
