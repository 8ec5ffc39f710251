package idp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	webhook <url> {
//		secret   <placeholders...>
//		content  reference|full
//		networks <networks...>
//		ca       <PEM files...>
//	}
func (w *WebhookNotifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume notifier name
	p := parser{Dispenser: d}
	start := p.Token()
	err := p.text(&w.URL)
	if err != nil {
		return err
	}
	seen := make(options)
	for d.NextBlock(0) {
		err = seen.once(d)
		if err != nil {
			return err
		}
		switch d.Val() {
		case "secret":
			err = p.list(&w.Secrets)
		case "content":
			err = p.text(&w.Content)
		case "networks":
			err = p.list(&w.Networks)
		case "ca":
			err = p.list(&w.CAFiles)
		default:
			err = p.unknown()
		}
		if err != nil {
			return err
		}
	}
	err = w.check()
	if err != nil {
		return errorAt(start, err)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*WebhookNotifier)(nil)
