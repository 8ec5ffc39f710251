package idp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// policy reads one policy.
func (p *parser) policy() error {
	module, err := p.module(policyNamespace, policyInlineKey)
	if err != nil {
		return err
	}
	p.handler.PoliciesRaw = append(p.handler.PoliciesRaw, module)
	return nil
}

// hints reads how hints are resolved.
func (p *parser) hints() error {
	module, err := p.module(hintNamespace, hintInlineKey)
	p.handler.HintsRaw = module
	return err
}

// claimsFrom reads one source of claims.
func (p *parser) claimsFrom() error {
	module, err := p.module(claimNamespace, claimInlineKey)
	if err != nil {
		return err
	}
	p.handler.ClaimsRaw = append(p.handler.ClaimsRaw, module)
	return nil
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	cel <expression> {
//		error       <code>
//		description <text>
//	}
func (c *CELPolicy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalModule(d, c.check, func(p *parser) error { return p.text(&c.Expression) }, func(p *parser) error {
		switch p.Val() {
		case "error":
			return p.text(&c.Error)
		case "description":
			return p.text(&c.Description)
		default:
			return p.unknown()
		}
	})
}

// UnmarshalCaddyfile sets up the resolver from Caddyfile tokens. Syntax:
//
//	claim <names...>
func (c *ClaimHints) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalModule(d, c.check, func(p *parser) error { return p.list(&c.Claims) }, (*parser).unknown)
}

// UnmarshalCaddyfile sets up the source from Caddyfile tokens. Syntax:
//
//	http <url> {
//		token    <placeholder>
//		timeout  <duration>
//		networks <networks...>
//		ca       <PEM files...>
//	}
func (c *HTTPClaims) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalModule(d, c.check, func(p *parser) error { return p.text(&c.URL) }, func(p *parser) error {
		switch p.Val() {
		case "token":
			return p.text(&c.Token)
		case "timeout":
			return p.duration(&c.Timeout)
		case "networks":
			return p.list(&c.Networks)
		case "ca":
			return p.list(&c.CAFiles)
		default:
			return p.unknown()
		}
	})
}

// unmarshalModule reads the arguments and the block of a module, and then checks it.
func unmarshalModule(d *caddyfile.Dispenser, check func() error, arguments, option func(*parser) error) error {
	d.Next() // consume module name
	p := parser{Dispenser: d}
	start := p.Token()
	err := arguments(&p)
	if err != nil {
		return err
	}
	err = p.block(func() error { return option(&p) })
	if err != nil {
		return err
	}
	err = check()
	if err != nil {
		return errorAt(start, err)
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*CELPolicy)(nil)
	_ caddyfile.Unmarshaler = (*ClaimHints)(nil)
	_ caddyfile.Unmarshaler = (*HTTPClaims)(nil)
)
