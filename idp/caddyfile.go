package idp

import (
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("ciba_idp", parseDirective)

	// The provider answers its own paths and passes all others on. It stands
	// after whatever checks or rewrites requests, and before handle and route,
	// whose catch-all would otherwise swallow its paths. It stands before the
	// gateway's directive, too (that one is placed directly before invoke, so
	// that whichever is registered first, templates comes before this, and
	// this before that): a gateway that guards every POST of a site must not
	// hold the requests that it makes itself to a provider on that site.
	httpcaddyfile.RegisterDirectiveOrder("ciba_idp", httpcaddyfile.After, "templates")
}

// parseDirective reads the directive whose matcher Caddy has taken off.
func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	err := handler.UnmarshalCaddyfile(h.Dispenser)
	if err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile reads the directive. Caddyfile.example explains every option.
//
//	ciba_idp [<matcher>] [<issuer>] {
//		issuer                <url>
//		store                 <engine> [<args...>]
//		request_lifetime      <duration>
//		max_request_lifetime  <duration>
//		interval              <duration>
//		access_token_lifetime <duration>
//		id_token_lifetime     <duration>
//		session_idle          <duration>
//		session_lifetime      <duration>
//		proof_age             <duration>
//		acr                   <value>
//		signing_algs          <algorithms...>
//		encryption_key        <placeholders...>
//		assertion_audience    core|issuer
//		scope <name> {
//			display_name <text>
//			description  <text>
//			required
//			emphasize
//			claims       <names...>
//			audience     <url>
//		}
//		client <id> {
//			name        <text>
//			secret      <placeholders or sha256:hashes...>
//			auth_method client_secret_basic|client_secret_post|private_key_jwt
//			jwks        <file>
//			scopes      <names...>
//			uri         <url>
//			logo_uri    <url>
//			disabled
//		}
//		user <username> {
//			name     <text>
//			password <hash>
//			subject  <identifier>
//			claim    <name> <values...>
//			disabled
//		}
//		brand {
//			name   <text>
//			accent "<#rrggbb>"
//		}
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	p := parser{Dispenser: d, handler: h}
	return p.directive()
}

// parser reads one directive into a handler.
type parser struct {
	*caddyfile.Dispenser
	handler *Handler

	// uses are the places where clients name scopes, which may be defined
	// further down.
	uses []scopeUse
}

// scopeUse is a place where a client names scopes.
type scopeUse struct {
	client *Client
	at     caddyfile.Token
}

// directive reads the arguments and the block, and checks what can only be
// checked when everything has been read.
func (p *parser) directive() error {
	start := p.Token()
	if p.NextArg() {
		p.handler.Issuer = p.Val()
		err := checkIssuer(p.handler.Issuer)
		if err != nil {
			return p.WrapErr(err)
		}
	}
	if p.NextArg() {
		return p.ArgErr()
	}
	seen := make(options)
	for p.NextBlock(0) {
		err := p.option(seen)
		if err != nil {
			return err
		}
	}
	if p.handler.Issuer == "" {
		return errorAt(start, errNoIssuer)
	}
	for _, use := range p.uses {
		err := p.handler.checkScopes(use.client)
		if err != nil {
			return errorAt(use.at, err)
		}
	}
	return nil
}

// option reads one option of the directive.
func (p *parser) option(seen options) error {
	h := p.handler
	switch name := p.Val(); name {
	case "scope":
		return p.scope()
	case "client":
		return p.client()
	case "user":
		return p.user()
	case "issuer":
		if h.Issuer != "" {
			return p.Errf("issuer already specified: %s", h.Issuer)
		}
		err := p.text(&h.Issuer)
		if err != nil {
			return err
		}
		return p.wrap(checkIssuer(h.Issuer))
	default:
		err := seen.once(p.Dispenser)
		if err != nil {
			return err
		}
	}
	switch p.Val() {
	case "store":
		return p.store()
	case "brand":
		return p.brand()
	case "request_lifetime":
		return p.duration(&h.RequestLifetime)
	case "max_request_lifetime":
		return p.duration(&h.MaxRequestLifetime)
	case "interval":
		return p.duration(&h.Interval)
	case "access_token_lifetime":
		return p.duration(&h.AccessTokenLifetime)
	case "id_token_lifetime":
		return p.duration(&h.IDTokenLifetime)
	case "session_idle":
		return p.duration(&h.SessionIdle)
	case "session_lifetime":
		return p.duration(&h.SessionLifetime)
	case "proof_age":
		return p.duration(&h.ProofAge)
	case "acr":
		return p.text(&h.ACR)
	case "signing_algs":
		return p.list(&h.SigningAlgs)
	case "encryption_key":
		err := p.list(&h.EncryptionKeys)
		if err != nil {
			return err
		}
		return p.wrap(h.checkEncryptionKeys())
	case "assertion_audience":
		err := p.text(&h.AssertionAudience)
		if err != nil {
			return err
		}
		return p.wrap(h.checkAssertionAudience())
	default:
		return p.unknown()
	}
}

// store reads the store's engine and hands it the rest of the segment.
func (p *parser) store() error {
	if !p.NextArg() {
		return p.ArgErr()
	}
	engine := p.Val()
	module, err := caddyfile.UnmarshalModule(p.Dispenser, storeNamespace+"."+engine)
	if err != nil {
		return err
	}
	p.handler.StoreRaw = caddyconfig.JSONModuleObject(module, storeInlineKey, engine, nil)
	return nil
}

// brand reads how the approval app looks.
func (p *parser) brand() error {
	if p.NextArg() {
		return p.ArgErr()
	}
	brand := new(Brand)
	seen := make(options)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		err := seen.once(p.Dispenser)
		if err != nil {
			return err
		}
		switch p.Val() {
		case "name":
			err = p.text(&brand.Name)
		case "accent":
			err = p.color(&brand.Accent)
		default:
			err = p.unknown()
		}
		if err != nil {
			return err
		}
		err = brand.check()
		if err != nil {
			return p.WrapErr(err)
		}
	}
	p.handler.Brand = brand
	return nil
}

// color reads a color. Without quotes it would be a comment, so that nothing is
// left of it.
func (p *parser) color(into *string) error {
	if !p.AllArgs(into) {
		return p.Err("accent requires one color, in quotes because # begins a comment: \"#rrggbb\"")
	}
	return nil
}

// options remembers which options of one block were read.
type options map[string]bool

// once refuses the option under the cursor when it was there before.
func (o options) once(d *caddyfile.Dispenser) error {
	if o[d.Val()] {
		return d.Errf("%s already specified", d.Val())
	}
	o[d.Val()] = true
	return nil
}

// text reads exactly one argument that is not empty.
func (p *parser) text(into *string) error {
	option := p.Val()
	if !p.AllArgs(into) {
		return p.ArgErr()
	}
	if *into == "" {
		return p.Errf("%s is empty", option)
	}
	return nil
}

// list reads one or more arguments, none twice.
func (p *parser) list(into *[]string) error {
	option := p.Val()
	args := p.RemainingArgs()
	if len(args) == 0 {
		return p.ArgErr()
	}
	for i, arg := range args {
		if arg == "" || slices.Contains(args[:i], arg) {
			return p.Errf("%s has an empty or repeated value '%s'", option, arg)
		}
	}
	*into = args
	return nil
}

// flag reads an option that stands alone.
func (p *parser) flag(into *bool) error {
	if p.NextArg() {
		return p.ArgErr()
	}
	*into = true
	return nil
}

// duration reads one argument as a duration above zero.
func (p *parser) duration(into *caddy.Duration) error {
	option := p.Val()
	var value string
	err := p.text(&value)
	if err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(value)
	if err != nil {
		return p.Errf("invalid %s '%s': %w", option, value, err)
	}
	if duration <= 0 {
		return p.Errf("invalid %s '%s': it must be above zero", option, value)
	}
	*into = caddy.Duration(duration)
	return p.wrap(p.handler.checkLifetimes())
}

// unknown refuses the option under the cursor.
func (p *parser) unknown() error {
	return p.Errf("unrecognized subdirective '%s'", p.Val())
}

// wrap adds file and line to an error, if there is one.
func (p *parser) wrap(err error) error {
	if err == nil {
		return nil
	}
	return p.WrapErr(err)
}

// errorAt adds file and line of a token that was read before.
func errorAt(token caddyfile.Token, err error) error {
	d := caddyfile.NewDispenser([]caddyfile.Token{token})
	d.Next()
	return d.WrapErr(err)
}

// errTwice names what is defined a second time.
func errTwice(kind, name string) error {
	return fmt.Errorf("%s '%s' is defined twice", kind, name)
}

// errNoValue says that a claim was named and not given.
var errNoValue = errors.New("claim requires a name and at least one value")

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
