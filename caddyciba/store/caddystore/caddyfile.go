package caddystore

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// oneOption parses an engine that has a single option, given as an argument or
// in the block.
func oneOption(d *caddyfile.Dispenser, name string, value *string) error {
	d.Next() // consume engine name
	if d.NextArg() {
		*value = d.Val()
		if *value == "" {
			return d.Errf("%s must not be empty", name)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if d.Val() != name {
			return d.Errf("unrecognized subdirective '%s'", d.Val())
		}
		if *value != "" {
			return d.Errf("%s already specified: %s", name, *value)
		}
		if !d.NextArg() {
			return d.ArgErr()
		}
		*value = d.Val()
		if *value == "" {
			return d.Errf("%s must not be empty", name)
		}
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	return nil
}
