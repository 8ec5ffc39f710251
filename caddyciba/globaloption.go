package caddyciba

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("ciba", parseGlobalOption)
}

// parseGlobalOption reads the global option. Syntax:
//
//	ciba {
//		store <engine> [<args...>]
//		provider <name> {
//			issuer        <url>
//			client_id     <id>
//			client_secret <placeholder>
//			client_key    <placeholder>
//		}
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // consume option name
	if existing != nil {
		return nil, d.Err("global option ciba already specified")
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	app := new(App)
	err := app.UnmarshalCaddyfile(d)
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "ciba", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from the block of the global option.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.NextBlock(0) {
		switch d.Val() {
		case "store":
			err := a.unmarshalStore(d)
			if err != nil {
				return err
			}
		case "provider":
			err := a.unmarshalProvider(d)
			if err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized option '%s'", d.Val())
		}
	}
	return nil
}

func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	if a.StoreRaw != nil {
		return d.Err("store already specified")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	engine := d.Val()
	module, err := caddyfile.UnmarshalModule(d, storeNamespace+"."+engine)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, storeInlineKey, engine, nil)
	return nil
}

func (a *App) unmarshalProvider(d *caddyfile.Dispenser) error {
	var name string
	start := d.Token()
	if !d.AllArgs(&name) {
		return d.ArgErr()
	}
	if isIssuer(name) {
		return d.Errf("provider needs a name of its own, got the URL '%s'", name)
	}
	if a.Providers[name] != nil {
		return d.Errf("provider '%s' already specified", name)
	}
	p := new(Provider)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		field := p.field(option)
		if field == nil {
			return d.Errf("unrecognized option '%s' of provider '%s'", option, name)
		}
		if *field != "" {
			return d.Errf("%s already specified", option)
		}
		if !d.AllArgs(field) {
			return d.ArgErr()
		}
		if *field == "" {
			return d.Errf("%s must not be empty", option)
		}
	}
	err := p.check()
	if err != nil {
		return errorAt(start, fmt.Errorf("provider %s: %w", name, err))
	}
	if a.Providers == nil {
		a.Providers = make(map[string]*Provider)
	}
	a.Providers[name] = p
	return nil
}

// field returns where the value of an option goes, or nil for an unknown one.
func (p *Provider) field(option string) *string {
	switch option {
	case "issuer":
		return &p.Issuer
	case "client_id":
		return &p.ClientID
	case "client_secret":
		return &p.ClientSecret
	case "client_key":
		return &p.ClientKey
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
