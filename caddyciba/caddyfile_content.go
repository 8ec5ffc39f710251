package caddyciba

import (
	"fmt"
	"regexp"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// unmarshalContent reads the options about what is in a request and what follows
// from it.
func (d *directive) unmarshalContent(disp *caddyfile.Dispenser, option string) error {
	switch option {
	case "namespace":
		return d.unmarshalNamespace(disp)
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
	if len(h.Namespaces) == 0 {
		// A colon in a name is no prefix, unless the body is XML.
		return nil
	}
	for _, source := range []string{h.Customer, h.Message} {
		t, err := parseTemplate(source)
		if err != nil {
			return err
		}
		for _, prefix := range t.prefixes() {
			if h.Namespaces[prefix] == "" {
				return fmt.Errorf("the namespace prefix %s in %q is not declared", prefix, source)
			}
		}
	}
	return nil
}
