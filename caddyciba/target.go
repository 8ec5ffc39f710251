package caddyciba

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

func init() {
	caddy.RegisterModule(StrictTarget{})
}

// StrictTarget refuses requests whose target or method can be understood in
// more than one way, with status 400: dot segments, encoded slashes,
// backslashes, semicolons, characters outside ASCII, a fragment, a full URL
// that names another host, a method such as `post`, a header that names another
// method or target, a `Connection` header that names anything but headers of the
// connection.
//
// Caddy's matchers look at a cleaned path, while the upstream gets the path as
// it was sent and may clean it in its own way. A request that a gate's matcher
// misses only because of its spelling would thus reach the upstream without
// approval. This handler belongs in front of the gate, for all paths of the
// site; the `ciba` directive of the Caddyfile puts it there.
type StrictTarget struct {
	// RemoveHeaders are headers that only a gate may set, such as one that
	// carries the customer's token. They are removed from every request in all
	// spellings that upstreams take for the same header, so that nobody can
	// pretend to have come through the gate. Do not list `Authorization` if
	// parts of the site that need no approval use it. Default: none.
	RemoveHeaders []string `json:"remove_headers,omitempty"`

	logger  *zap.Logger
	cleaner *stepup.Cleaner
}

// CaddyModule returns the Caddy module information.
func (StrictTarget) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ciba_strict_target",
		New: func() caddy.Module { return new(StrictTarget) },
	}
}

// Provision gets the logger and prepares the check.
func (s *StrictTarget) Provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	s.cleaner = stepup.NewCleaner(s.RemoveHeaders...)
	return nil
}

// ServeHTTP passes the request on if it has one meaning only.
func (s *StrictTarget) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	err := stepup.CheckTarget(r)
	if err == nil {
		// What a gate in front of this handler has just set stays. Caddy sorts gates
		// with a matcher in front of the check for all paths.
		set, _ := r.Context().Value(approvedKey{}).([]string)
		err = s.cleaner.Clean(r, set)
	}
	if err == nil {
		return next.ServeHTTP(w, r)
	}
	refusal, ok := asRefusal(err)
	if !ok {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	// The target is not repeated: what writes it is an attacker, or broken.
	s.logger.Info("request was refused", zap.String("problem", string(refusal.Problem)), zap.String("detail", refusal.Detail),
		zap.String("remote_addr", r.RemoteAddr))
	return refuse(w, r, refusal)
}

// parseStrictTarget reads the directive for sites whose gates are inside handle
// or route, where the ciba directive can check the requests of that block only.
func parseStrictTarget(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	s := new(StrictTarget)
	err := s.UnmarshalCaddyfile(h.Dispenser)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	ciba_strict_target {
//		remove_headers <names...>
//	}
func (s *StrictTarget) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if d.Val() != "remove_headers" {
			return d.Errf("unrecognized option '%s'", d.Val())
		}
		if s.RemoveHeaders != nil {
			return d.Err("remove_headers already specified")
		}
		s.RemoveHeaders = d.RemainingArgs()
		if len(s.RemoveHeaders) == 0 {
			return d.ArgErr()
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*StrictTarget)(nil)
	_ caddyhttp.MiddlewareHandler = (*StrictTarget)(nil)
	_ caddyfile.Unmarshaler       = (*StrictTarget)(nil)
)
