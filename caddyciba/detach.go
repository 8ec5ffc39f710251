package caddyciba

import (
	"context"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// detached is the context of a request that goes on after its handlers have
// returned. It has the values of the request's own context and not its end, but
// for those that Caddy still reads and writes when it logs the request.
type detached struct {
	context.Context // without end
	own             map[any]any
}

// Value implements context.Context.
func (d detached) Value(key any) any {
	if key == caddy.ReplacerCtxKey || key == caddyhttp.VarsCtxKey || key == caddyhttp.ExtraLogFieldsCtxKey {
		return d.own[key]
	}
	return d.Context.Value(key)
}

// detach returns a copy of a request that shares with it nothing that changes:
// with placeholders, variables and log fields of its own. Placeholders that
// earlier handlers have set are found as before. A request that no server of
// Caddy's has prepared is copied without.
func detach(r *http.Request) *http.Request {
	lasting := context.WithoutCancel(r.Context())
	server, _ := lasting.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	outer, _ := lasting.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if server == nil || outer == nil {
		return r.Clone(lasting)
	}
	repl := caddy.NewReplacer()
	// The placeholders read this very request, whatever it becomes.
	own := caddyhttp.PrepareRequest(r.Clone(lasting), repl, nil, server)
	repl.Map(outer.Get)
	vars, _ := lasting.Value(caddyhttp.VarsCtxKey).(map[string]any)
	*own = *own.WithContext(detached{Context: lasting, own: map[any]any{
		caddy.ReplacerCtxKey:           repl,
		caddyhttp.VarsCtxKey:           maps.Clone(vars),
		caddyhttp.ExtraLogFieldsCtxKey: new(caddyhttp.ExtraLogFields),
	}})
	return own
}

// routeFor is the handler's route for one request.
func (h *Handler) routeFor(r *http.Request, next caddyhttp.Handler) *stepup.Route {
	route := *h.route
	route.SetHeaders = func(header http.Header, approval *stepup.Approval) {
		announce(r, approval)
		h.route.SetHeaders(header, approval)
	}
	route.NotSent = func(err error) bool { return neverProxied(r.Context(), err) }
	route.Unhandled = unhandled
	route.Address = address
	route.Detach = func() (*http.Request, *stepup.Route, stepup.Next) {
		own := detach(r)
		return own, h.routeFor(own, next), h.nextFor(own, next)
	}
	if h.mode().Keeps(r) {
		route.Origin = originOf(r)
	}
	return &route
}

// nextFor is the way from the gate to the handler behind it for one request.
func (h *Handler) nextFor(r *http.Request, next caddyhttp.Handler) stepup.Next {
	return func(w http.ResponseWriter, approved *http.Request) error {
		if approved == r {
			// It needs no approval, or not yet, and goes on as it came.
			return next.ServeHTTP(w, h.tentative(r))
		}
		// Placeholders of the handlers behind us read the request that Caddy
		// made them for, so the approved request takes its place there, and
		// leaves it with its token when it has been sent. The handlers get one
		// of their own with the same URL and headers: what still writes the body
		// when the upstream has answered looks at its request afterwards.
		own := approved.WithContext(context.WithValue(approved.Context(), approvedKey{}, h.own))
		before := *r
		defer func() { *r = before }()
		*r = *own
		return next.ServeHTTP(w, own)
	}
}

// mode is the handler's mode with its default.
func (h *Handler) mode() stepup.Mode {
	if h.Mode == "" {
		return stepup.ModeAuto
	}
	return stepup.Mode(h.Mode)
}

// address is the path and query that the caller has sent, whatever directives
// have made of it since.
func address(r *http.Request) string {
	first, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || first.URL == nil {
		return r.URL.RequestURI()
	}
	return first.URL.RequestURI()
}
