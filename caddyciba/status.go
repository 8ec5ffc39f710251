package caddyciba

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

func init() {
	caddy.RegisterModule(Status{})
	httpcaddyfile.RegisterHandlerDirective("ciba_status", parseStatus)
	httpcaddyfile.RegisterDirectiveOrder("ciba_status", httpcaddyfile.Before, "invoke")
}

// Status shows callers what becomes of their requests that wait for approval:
// the status at `/.ciba/t/…`, where the `Location` of a `202` leads, the waiting
// page for browsers, the kept answers of the upstream, and what belongs to these.
// All other requests are passed on.
//
// Each transaction is shown to its own caller alone; for others there is none. A
// caller is known by whatever authenticates it, by the same `Authorization` that
// it has sent with its request, or by the cookie of its waiting page. What
// authenticates callers should therefore cover `/.ciba/*`, too.
//
// The `ciba` directive of the Caddyfile brings this handler with it. Where that
// directive stands inside `handle` or `route`, put `ciba_status` at the top of the
// site.
type Status struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (Status) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ciba_status",
		New: func() caddy.Module { return new(Status) },
	}
}

// Provision finds the app whose transactions are shown.
func (s *Status) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	s.app = app
	return nil
}

// ServeHTTP answers for transactions and passes everything else on.
func (s *Status) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !stepup.Concerns(r) || isNotification(r) {
		return next.ServeHTTP(w, r)
	}
	return s.app.serveStatus(w, r)
}

// serveStatus answers for the transactions of this configuration's store.
func (a *App) serveStatus(w http.ResponseWriter, r *http.Request) error {
	desk := stepup.Desk{
		Gates:  func() []*stepup.Gate { return enginesOf(a.engine.Key()) },
		Caller: callerOfRequest,
	}
	err := desk.Serve(w, r)
	refusal, ok := asRefusal(err)
	if ok {
		return refuse(w, r, refusal)
	}
	return err
}

// enginesOf returns the engines of the gates that keep their transactions in one
// store, also of those that only requests of earlier configurations still use.
func enginesOf(store string) []*stepup.Gate {
	var engines []*stepup.Gate
	gates.Range(func(_, value any) bool {
		g := value.(*gate)
		if g.storeKey == store {
			engines = append(engines, g.engine)
		}
		return true
	})
	return engines
}

// callerOfRequest names who sends a request, as for the gate.
func callerOfRequest(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	user, _ := repl.GetString("http.auth.user.id")
	return callerOf(r.Context(), repl, user)
}

// parseStatus reads the directive.
func parseStatus(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	s := new(Status)
	err := s.UnmarshalCaddyfile(h.Dispenser)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	ciba_status
func (*Status) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized option '%s'", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Status)(nil)
	_ caddyhttp.MiddlewareHandler = (*Status)(nil)
	_ caddyfile.Unmarshaler       = (*Status)(nil)
)
