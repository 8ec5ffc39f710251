package caddyciba

import (
	"encoding/json"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// readyPath is where readiness is asked for unless the operator says otherwise.
const readyPath = "/.ciba/ready"

func init() {
	caddy.RegisterModule(Ready{})
	httpcaddyfile.RegisterDirective("ciba_ready", parseReady)
	httpcaddyfile.RegisterDirectiveOrder("ciba_ready", httpcaddyfile.Before, "redir")
}

// Ready says whether the gateway can do its work, for load balancers and
// orchestrators. The answer is 200 with `ready` if it can; 200 with `degraded` if a
// provider does not answer at the moment, since that is so for all nodes alike and
// other routes are not concerned; and 503 with `unready` if the store is down or a
// provider refuses the gateway's client, which will not pass by itself.
//
// What exactly was found is in the log, and at `/ciba/check` of Caddy's admin API.
// Providers are asked at most every 15 seconds.
type Ready struct {
	logger *zap.Logger
	app    *App
}

// CaddyModule returns the Caddy module information.
func (Ready) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ciba_ready",
		New: func() caddy.Module { return new(Ready) },
	}
}

// Provision finds the app.
func (h *Ready) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	module, err := ctx.App("ciba")
	if err != nil {
		return err
	}
	app, ok := module.(*App)
	if !ok {
		return fmt.Errorf("app ciba is a %T", module)
	}
	h.app = app
	return nil
}

// ServeHTTP answers every request that comes to it.
func (h *Ready) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("readiness is asked for by GET"))
	}
	status, text := http.StatusOK, "ready"
	checks := h.app.ready(r.Context())
	switch worst(checks) {
	case ciba.SeverityFailure:
		status, text = http.StatusServiceUnavailable, "unready"
	case ciba.SeverityUnreachable:
		text = "degraded"
	}
	if text != "ready" {
		h.log(checks)
	}
	body, err := json.Marshal(map[string]string{"status": text})
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}

// log tells operators what callers do not get to know.
func (h *Ready) log(checks []checked) {
	for _, c := range checks {
		for _, f := range c.Findings {
			if f.Severity == ciba.SeverityFailure || f.Severity == ciba.SeverityUnreachable {
				h.logger.Warn("the gateway is not ready", zap.String("provider", c.Provider),
					zap.String("check", f.Check), zap.String("severity", string(f.Severity)), zap.String("detail", f.Detail))
			}
		}
	}
}

// parseReady reads the directive. Syntax:
//
//	ciba_ready [<path>]
//
// It becomes a route for that path alone, in front of authentication.
func parseReady(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume directive name
	path := readyPath
	if h.NextArg() {
		path = h.Val()
	}
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	if path == "" || path[0] != '/' {
		return nil, h.Errf("the path of ciba_ready must begin with a slash, got '%s'", path)
	}
	if h.NextBlock(0) {
		return nil, h.Errf("unrecognized option '%s'", h.Val())
	}
	return h.NewRoute(caddy.ModuleMap{"path": caddyconfig.JSON([]string{path}, nil)}, new(Ready)), nil
}

// UnmarshalCaddyfile sets up the handler, which has no settings.
func (h *Ready) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Ready)(nil)
	_ caddyhttp.MiddlewareHandler = (*Ready)(nil)
	_ caddyfile.Unmarshaler       = (*Ready)(nil)
)
