package idp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	web_push <contact> {
//		per_user <number>
//		networks <networks...>
//		ca       <PEM files...>
//	}
func (w *WebPushNotifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume notifier name
	p := parser{Dispenser: d}
	start := p.Token()
	err := p.text(&w.Contact)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch d.Val() {
		case "per_user":
			return p.number(&w.PerUser)
		case "networks":
			return p.list(&w.Networks)
		case "ca":
			return p.list(&w.CAFiles)
		default:
			return p.unknown()
		}
	})
	if err != nil {
		return err
	}
	err = w.check()
	if err != nil {
		return errorAt(start, err)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*WebPushNotifier)(nil)
