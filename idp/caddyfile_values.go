package idp

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

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
	return nil
}

// durationOrOff is duration, and takes "off" for a negative one.
func (p *parser) durationOrOff(into *caddy.Duration) error {
	if p.CountRemainingArgs() == 1 && p.NextArg() {
		if p.Val() == "off" {
			*into = -1
			return nil
		}
		p.Prev()
	}
	return p.duration(into)
}

// off reads the argument "off" for something that is on by itself.
func (p *parser) off(into *bool) error {
	option := p.Val()
	var value string
	err := p.text(&value)
	if err != nil {
		return err
	}
	if value != "off" {
		return p.Errf("%s can only be 'off': it is on by itself", option)
	}
	*into = true
	return nil
}

// number reads one argument as a whole number above zero.
func (p *parser) number(into *int) error {
	option := p.Val()
	var value string
	err := p.text(&value)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(value)
	if err != nil || number < 1 {
		return p.Errf("invalid %s '%s': it must be a whole number above zero", option, value)
	}
	*into = number
	return nil
}

// link reads an https URL.
func (p *parser) link(into *string) error {
	err := p.text(into)
	if err != nil {
		return err
	}
	return p.wrap(checkLink(*into))
}

// block reads the options of a block, none of them twice unless it is among those
// that may be repeated.
func (p *parser) block(option func() error, repeated ...string) error {
	seen := make(options)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if !slices.Contains(repeated, p.Val()) {
			err := seen.once(p.Dispenser)
			if err != nil {
				return err
			}
		}
		err := option()
		if err != nil {
			return err
		}
	}
	return nil
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
