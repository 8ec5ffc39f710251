package idp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	ntfy <url> {
//		token    <placeholder>
//		claim    <name>
//		priority <1 to 5>
//		networks <networks...>
//		ca       <PEM files...>
//	}
func (t *NtfyNotifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume notifier name
	p := parser{Dispenser: d}
	start := p.Token()
	err := p.text(&t.URL)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch d.Val() {
		case "token":
			return p.text(&t.Token)
		case "claim":
			return p.text(&t.Claim)
		case "priority":
			return p.number(&t.Priority)
		case "networks":
			return p.list(&t.Networks)
		case "ca":
			return p.list(&t.CAFiles)
		default:
			return p.unknown()
		}
	})
	if err != nil {
		return err
	}
	err = t.check()
	if err != nil {
		return errorAt(start, err)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*NtfyNotifier)(nil)
