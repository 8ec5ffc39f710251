package caddyciba

import (
	"strconv"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func templateArg(d *caddyfile.Dispenser, field *string) error {
	name := d.Val()
	if !d.AllArgs(field) {
		return d.ArgErr()
	}
	_, err := parseTemplate(*field)
	if err != nil {
		return d.Errf("invalid %s: %w", name, err)
	}
	return nil
}

func listArg(d *caddyfile.Dispenser, field *[]string) error {
	*field = d.RemainingArgs()
	if len(*field) == 0 {
		return d.ArgErr()
	}
	return nil
}

func durationArg(d *caddyfile.Dispenser, field *caddy.Duration) error {
	name, value := d.Val(), ""
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	duration, err := caddy.ParseDuration(value)
	if err != nil {
		return d.Errf("invalid %s duration '%s': %w", name, value, err)
	}
	if duration <= 0 {
		return d.Errf("%s must be longer than nothing, got '%s'", name, value)
	}
	*field = caddy.Duration(duration)
	return nil
}

func sizeArg(d *caddyfile.Dispenser, field *int64) error {
	name, value := d.Val(), ""
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	size, err := humanize.ParseBytes(value)
	if err != nil {
		return d.Errf("invalid %s size '%s': %w", name, value, err)
	}
	if size == 0 || size > maxMaxBody {
		return d.Errf("%s must be between 1B and %s, got '%s'", name, humanize.IBytes(maxMaxBody), value)
	}
	*field = int64(size)
	return nil
}

func headerArg(d *caddyfile.Dispenser, field *string) error {
	name := d.Val()
	if !d.AllArgs(field) {
		return d.ArgErr()
	}
	err := checkTokenHeader(*field)
	if err != nil {
		return d.Errf("invalid %s: %w", name, err)
	}
	return nil
}

// textArg reads the one value of an option, which must not be empty.
func textArg(d *caddyfile.Dispenser, field *string) error {
	option := d.Val()
	if !d.AllArgs(field) {
		return d.ArgErr()
	}
	if *field == "" {
		return d.Errf("%s must not be empty", option)
	}
	return nil
}

// countArg reads a number that is not zero.
func countArg(d *caddyfile.Dispenser, field *int) error {
	name, value := d.Val(), ""
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return d.Errf("%s must be a positive number, got '%s'", name, value)
	}
	*field = n
	return nil
}

// durationOrOff reads a duration. "off" is a negative one.
func durationOrOff(d *caddyfile.Dispenser, field *caddy.Duration) error {
	var value string
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	if value == off {
		*field = -1
		return nil
	}
	d.Prev() // back to the option's name
	return durationArg(d, field)
}

// parameterArg reads a further parameter of authentication requests, by its name.
func parameterArg(d *caddyfile.Dispenser, parameters *map[string]string) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.ArgErr()
	}
	err := checkParameter(name)
	if err != nil {
		return d.WrapErr(err)
	}
	if _, twice := (*parameters)[name]; twice {
		return d.Errf("parameter %s already specified", name)
	}
	if *parameters == nil {
		*parameters = make(map[string]string)
	}
	(*parameters)[name] = value
	return nil
}
