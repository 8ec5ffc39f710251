package idp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	gotify <url> {
//		token    <placeholder>
//		priority <1 to 10>
//		networks <networks...>
//		ca       <PEM files...>
//	}
func (g *GotifyNotifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume notifier name
	p := parser{Dispenser: d}
	start := p.Token()
	err := p.text(&g.URL)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch d.Val() {
		case "token":
			return p.text(&g.Token)
		case "priority":
			return p.number(&g.Priority)
		case "networks":
			return p.list(&g.Networks)
		case "ca":
			return p.list(&g.CAFiles)
		default:
			return p.unknown()
		}
	})
	if err != nil {
		return err
	}
	err = g.check()
	if err != nil {
		return errorAt(start, err)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*GotifyNotifier)(nil)
