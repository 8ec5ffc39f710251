package caddyciba

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/stepup/policy"
)

// unmarshalContent reads the options about what is in a request and what follows
// from it.
func (d *directive) unmarshalContent(disp *caddyfile.Dispenser, option string) error {
	switch option {
	case "namespace":
		return d.unmarshalNamespace(disp)
	case "when":
		return d.unmarshalWhen(disp)
	case "details":
		return d.unmarshalDetails(disp)
	case "limit":
		return d.unmarshalLimit(disp)
	case "report_only":
		d.ReportOnly = true
		if disp.NextArg() {
			return disp.ArgErr()
		}
		return nil
	default:
		return disp.Errf("unrecognized option '%s'", option)
	}
}

func (d *directive) unmarshalNamespace(disp *caddyfile.Dispenser) error {
	var prefix, uri string
	if !disp.AllArgs(&prefix, &uri) {
		return disp.ArgErr()
	}
	if d.Namespaces == nil {
		d.Namespaces = make(map[string]string)
	}
	_, twice := d.Namespaces[prefix]
	if twice {
		return disp.Errf("namespace %s already specified", prefix)
	}
	err := checkNamespace(prefix, uri)
	if err != nil {
		return disp.WrapErr(err)
	}
	d.Namespaces[prefix] = uri
	return nil
}

// namespacePrefix is how the prefix of a namespace is written in a path.
var namespacePrefix = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func checkNamespace(prefix, uri string) error {
	switch {
	case !namespacePrefix.MatchString(prefix):
		return fmt.Errorf("'%s' is not a namespace prefix: it has letters, digits, '-' and '_'", prefix)
	case uri == "":
		return fmt.Errorf("namespace %s has no URI", prefix)
	}
	return nil
}

// checkNamespaces finds mistakes in the namespaces, and prefixes in placeholders
// that stand for none.
func (h *Handler) checkNamespaces() error {
	for prefix, uri := range h.Namespaces {
		err := checkNamespace(prefix, uri)
		if err != nil {
			return err
		}
	}
	return h.checkPrefixes()
}

func (d *directive) unmarshalWhen(disp *caddyfile.Dispenser) error {
	if !disp.AllArgs(&d.When) {
		return disp.Err("when takes one condition, in backticks")
	}
	_, err := policy.Compile(d.When)
	if err != nil {
		return disp.Errf("invalid when: %w", err)
	}
	return nil
}

// unmarshalLimit reads "limit N per customer|caller [per DURATION]" and "limit
// off".
func (d *directive) unmarshalLimit(disp *caddyfile.Dispenser) error {
	args := disp.RemainingArgs()
	if len(args) == 1 && args[0] == off {
		d.NoLimits = true
		if len(d.Limits) > 0 {
			return disp.Err("limit off and other limits exclude each other")
		}
		return nil
	}
	if len(args) != 3 && len(args) != 5 || args[1] != "per" || len(args) == 5 && args[3] != "per" {
		return disp.Err("limit is written as: limit <count> per customer|caller [per <duration>], or limit off")
	}
	if d.NoLimits {
		return disp.Err("limit off and other limits exclude each other")
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return disp.Errf("invalid limit '%s': %w", args[0], err)
	}
	l := Limit{Per: args[2], Count: count}
	if len(args) == 5 {
		window, err := caddy.ParseDuration(args[4])
		if err != nil {
			return disp.Errf("invalid limit duration '%s': %w", args[4], err)
		}
		if window <= 0 {
			return disp.Errf("the time of a limit must be longer than nothing, got '%s'", args[4])
		}
		l.Window = caddy.Duration(window)
	}
	err = stepup.PromptLimit{Per: stepup.PromptParty(l.Per), Count: l.Count, Window: time.Duration(l.Window)}.Check()
	if err != nil {
		return disp.Errf("invalid limit: %w", err)
	}
	d.Limits = append(d.Limits, l)
	return nil
}
