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
//		encryption_key <placeholder>...
//		audit [<file>] {
//			...
//		}
//		provider <name> {
//			...
//		}
//	}
//
// The options of a provider are at [Provider.unmarshal], those of the audit log at
// [caddyaudit.Options.UnmarshalCaddyfile].
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
		case "encryption_key":
			err := encryptionKeyArg(d, a)
			if err != nil {
				return err
			}
		case "audit":
			err := a.unmarshalAudit(d)
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
	err := p.unmarshal(d, name)
	if err != nil {
		return err
	}
	err = p.check()
	if err != nil {
		return errorAt(start, fmt.Errorf("provider %s: %w", name, err))
	}
	if a.Providers == nil {
		a.Providers = make(map[string]*Provider)
	}
	a.Providers[name] = p
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
