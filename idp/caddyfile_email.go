package idp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	email <host:port> {
//		from          <address>
//		tls           starttls|implicit|off
//		username      <name>
//		password      <placeholder>
//		claim         <name>
//		text_template <file>
//		html_template <file>
//		ca            <PEM files...>
//	}
func (e *EmailNotifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume notifier name
	p := parser{Dispenser: d}
	start := p.Token()
	err := p.text(&e.Server)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch d.Val() {
		case "from":
			return p.text(&e.From)
		case "tls":
			return p.text(&e.TLS)
		case "username":
			return p.text(&e.Username)
		case "password":
			return p.text(&e.Password)
		case "claim":
			return p.text(&e.Claim)
		case "text_template":
			return p.text(&e.TextTemplate)
		case "html_template":
			return p.text(&e.HTMLTemplate)
		case "ca":
			return p.list(&e.CAFiles)
		default:
			return p.unknown()
		}
	})
	if err != nil {
		return err
	}
	err = e.check()
	if err != nil {
		return errorAt(start, err)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*EmailNotifier)(nil)
