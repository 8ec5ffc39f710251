package caddyciba

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterDirective("ciba_notify", parseNotify)
	// In front of everything that redirects, rewrites or authenticates: a
	// provider has only the token that the gateway has given to it.
	httpcaddyfile.RegisterDirectiveOrder("ciba_notify", httpcaddyfile.Before, "redir")
}

// parseNotify reads the directive. Syntax:
//
//	ciba_notify [<providers...>]
//
// It becomes a route for the paths of notifications alone.
func parseNotify(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	n := new(Notify)
	err := n.UnmarshalCaddyfile(h.Dispenser)
	if err != nil {
		return nil, err
	}
	var app App
	option, ok := h.Option("ciba").(httpcaddyfile.App)
	if ok {
		err = json.Unmarshal(option.Value, &app)
		if err != nil {
			return nil, h.Errf("reading the global option ciba: %w", err)
		}
	}
	for _, name := range n.Providers {
		err = app.knows(name)
		if err != nil {
			return nil, h.WrapErr(err)
		}
	}
	if len(n.Providers) == 0 && len(app.notifying()) == 0 {
		return nil, h.Err("no provider in the global option ciba has delivery ping or push")
	}
	paths := caddyconfig.JSON([]string{pingPath + "*", pushPath + "*"}, nil)
	return h.NewRoute(caddy.ModuleMap{"path": paths}, n), nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens.
func (n *Notify) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	n.Providers = d.RemainingArgs()
	if d.NextBlock(0) {
		return d.Errf("unrecognized option '%s'", d.Val())
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Notify)(nil)
