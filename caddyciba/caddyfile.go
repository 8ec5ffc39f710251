package caddyciba

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterDirective("ciba", parseDirective)
	// Behind everything that says who calls and everything that changes the
	// request, in front of everything that answers it.
	httpcaddyfile.RegisterDirectiveOrder("ciba", httpcaddyfile.Before, "invoke")
	httpcaddyfile.RegisterHandlerDirective("ciba_strict_target", parseStrictTarget)
	httpcaddyfile.RegisterDirectiveOrder("ciba_strict_target", httpcaddyfile.Before, "invoke")
}

// parseDirective reads the directive. Syntax:
//
//	ciba [<matcher>] <issuer>|<provider> {
//		customer      <template>
//		subject       <claim>|off
//		message       <template>
//		login_hint    <template>
//		login_hint_token <template>
//		id_token_hint <template>
//		user_code     <template>
//		resource      <uris...>
//		parameter     <name> <template>
//		scope         <scopes...>
//		acr           <values...>
//		auth_age      <duration>|off
//		hold          <duration>
//		max_body      <size>
//		namespace     <prefix> <uri>
//		mode          auto|hold|redirect|async
//		match_code
//		retention     <duration>
//		max_result    <size>
//		when          <condition>
//		details       <type> {
//			<field> <template> [text|number|boolean]
//		}
//		limit         <count> per customer|caller [per <duration>]
//		limit         off
//		report_only
//		token         <header>|off
//		dpop_htu      <url>
//		header_up     <header> <template>
//		strict_target off
//	}
//
// It becomes three routes. The first has no matcher and refuses requests whose
// target could be understood in two ways, on every path of the site: a request
// that the matcher misses because of its spelling must not reach what the
// upstream takes it for. The second shows callers what becomes of their
// requests, and the third is the gate. Caddy sorts a route with a matcher in
// front of one without; the gate checks the target and shows the same by itself,
// so any order is safe. In a handle block, all are for the paths of that block
// only.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume directive name
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	var d directive
	err = d.unmarshal(h.Dispenser)
	if err != nil {
		return nil, err
	}
	err = d.checkSurroundings(h)
	if err != nil {
		return nil, err
	}
	var values []httpcaddyfile.ConfigValue
	if !d.lenient {
		values = h.NewRoute(nil, &StrictTarget{RemoveHeaders: d.ownHeaders()})
	}
	values = append(values, h.NewRoute(nil, &Status{})...)
	gate := h.NewRoute(matcher, &d.Handler)
	for i := range gate {
		route, ok := gate[i].Value.(caddyhttp.Route)
		if ok {
			route.Group = gateGroup(h)
			gate[i].Value = route
		}
	}
	return append(values, gate...), nil
}

// gateGroup names the group of routes that all gates of one block belong to. Of
// a group, only the first route that matches applies, as with handle: Caddy
// sorts longer paths first, so the most specific gate is the one that asks. A
// gate in a block within the block has a group of its own, so that it is never
// passed over because of a gate outside.
func gateGroup(h httpcaddyfile.Helper) string {
	const key = "ciba.group"
	type mark struct {
		block uintptr
		name  string
	}
	// A block starts with a copy of what its parent knows.
	block := reflect.ValueOf(h.BlockState).Pointer()
	known, ok := h.BlockState[key].(mark)
	if ok && known.block == block {
		return known.name
	}
	const counter = "ciba.groups"
	n, _ := h.State[counter].(int)
	h.State[counter] = n + 1
	known = mark{block: block, name: fmt.Sprintf("ciba%d", n)}
	if h.IsNamedRoute() {
		// Named routes count for themselves, and are part of other blocks later.
		known.name = fmt.Sprintf("ciba%d_line%d", n, h.Line())
	}
	h.BlockState[key] = known
	return known.name
}

// A directive is what one use of the directive in a Caddyfile says.
type directive struct {
	Handler

	// lenient leaves out the check of all targets of the site.
	lenient bool

	// provider and hold are the tokens that set the provider and the hold, for
	// mistakes that are found later.
	provider, hold caddyfile.Token
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. The syntax is
// that of the directive, without matcher and without strict_target, which
// belongs to another handler.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	var dir directive
	err := dir.unmarshal(d)
	if err != nil {
		return err
	}
	if dir.lenient {
		return d.Err("strict_target cannot be used here")
	}
	*h = dir.Handler
	return nil
}

func (d *directive) unmarshal(disp *caddyfile.Dispenser) error {
	disp.Next() // consume directive name
	if !disp.NextArg() {
		return disp.Err("missing issuer: name the provider, by its issuer URL or by its name in the global option ciba")
	}
	d.provider = disp.Token()
	if isIssuer(disp.Val()) {
		d.Issuer = disp.Val()
		err := checkIssuer(d.Issuer)
		if err != nil {
			return disp.WrapErr(err)
		}
	} else {
		d.Provider = disp.Val()
	}
	if disp.NextArg() {
		return disp.ArgErr()
	}
	seen := make(map[string]bool)
	for disp.NextBlock(0) {
		option := disp.Val()
		if seen[option] && !repeatable[option] {
			return disp.Errf("%s already specified", option)
		}
		seen[option] = true
		err := d.unmarshalOption(disp, option)
		if err != nil {
			return err
		}
	}
	_, err := d.hintTemplates()
	if err != nil {
		return errorAt(d.provider, err)
	}
	return nil
}

// repeatable are the options of which there may be several.
var repeatable = map[string]bool{"header_up": true, "namespace": true, "parameter": true, "limit": true}

func (d *directive) unmarshalOption(disp *caddyfile.Dispenser, option string) error {
	switch option {
	case "customer":
		return templateArg(disp, &d.Customer)
	case "subject":
		if !disp.AllArgs(&d.Subject) {
			return disp.ArgErr()
		}
		return nil
	case "message":
		return templateArg(disp, &d.Message)
	case "login_hint":
		return templateArg(disp, &d.LoginHint)
	case "login_hint_token":
		return templateArg(disp, &d.LoginHintToken)
	case "id_token_hint":
		return templateArg(disp, &d.IDTokenHint)
	case "user_code":
		return templateArg(disp, &d.UserCode)
	case "resource":
		return listArg(disp, &d.Resource)
	case "parameter":
		return parameterArg(disp, &d.Parameters)
	case "scope":
		return listArg(disp, &d.Scope)
	case "acr":
		return listArg(disp, &d.ACR)
	case "auth_age":
		return d.unmarshalAuthAge(disp)
	case "hold":
		d.hold = disp.Token()
		return durationArg(disp, &d.Hold)
	case "on_challenge":
		return flagArg(disp, &d.OnChallenge)
	case "reuse":
		return reuseArg(disp, &d.Reuse)
	case "max_body":
		return sizeArg(disp, &d.MaxBody)
	case "mode":
		return modeArg(disp, &d.Handler)
	case "match_code":
		return flagArg(disp, &d.MatchCode)
	case "retention":
		return retentionArg(disp, &d.Handler)
	case "max_result":
		return maxResultArg(disp, &d.Handler)
	case "token":
		return headerArg(disp, &d.Token)
	case "dpop_htu":
		return proofBaseArg(disp, &d.DPoPHTU)
	case "header_up":
		return d.unmarshalHeaderUp(disp)
	case "strict_target":
		var value string
		if !disp.AllArgs(&value) {
			return disp.ArgErr()
		}
		if value != "off" {
			return disp.Errf("strict_target is on unless it is 'off', got '%s'", value)
		}
		d.lenient = true
		return nil
	default:
		return d.unmarshalContent(disp, option)
	}
}

// checkSurroundings compares the directive with the global options, so that
// what does not fit together is reported with file and line. The handler finds
// the same mistakes in JSON.
func (d *directive) checkSurroundings(h httpcaddyfile.Helper) error {
	if d.Provider != "" {
		var app App
		option, ok := h.Option("ciba").(httpcaddyfile.App)
		if ok {
			err := json.Unmarshal(option.Value, &app)
			if err != nil {
				return fmt.Errorf("reading the global option ciba: %w", err)
			}
		}
		err := app.knows(d.Provider)
		if err == nil {
			err = d.checkProofs(*app.Providers[d.Provider])
		}
		if err != nil {
			return errorAt(d.provider, err)
		}
	}
	timeout := siteWriteTimeout(h)
	if !d.holdsCallers() {
		timeout = 0
	}
	err := checkHold(d.effectiveHold(), timeout, "")
	if err != nil {
		at := d.hold
		if at.Text == "" {
			at = d.provider
		}
		return errorAt(at, err)
	}
	return nil
}

// siteWriteTimeout returns the write timeout that is certain to hold for every
// server of this Caddyfile, or 0. With options for single listeners only the
// handler can tell, when it knows its server.
func siteWriteTimeout(h httpcaddyfile.Helper) time.Duration {
	encoded, err := json.Marshal(h.Option("servers"))
	if err != nil {
		return 0
	}
	var options []struct {
		ListenerAddress string
		WriteTimeout    caddy.Duration
	}
	err = json.Unmarshal(encoded, &options)
	if err != nil || len(options) != 1 || options[0].ListenerAddress != "" {
		return 0
	}
	return time.Duration(options[0].WriteTimeout)
}

// errorAt gives a mistake that was found late the file and line of its token,
// in Caddy's own form.
func errorAt(t caddyfile.Token, err error) error {
	return fmt.Errorf("%w, at %s:%d", err, t.File, t.Line)
}

// unmarshalAuthAge reads how old a customer's authentication may be.
func (d *directive) unmarshalAuthAge(disp *caddyfile.Dispenser) error {
	var value string
	if !disp.AllArgs(&value) {
		return disp.ArgErr()
	}
	if value == off {
		d.AuthAge = -1
		return nil
	}
	disp.Prev() // back to the option's name
	return durationArg(disp, &d.AuthAge)
}

func (d *directive) unmarshalHeaderUp(disp *caddyfile.Dispenser) error {
	var name, value string
	if !disp.AllArgs(&name, &value) {
		return disp.ArgErr()
	}
	if d.HeaderUp == nil {
		d.HeaderUp = make(map[string]string)
	}
	name = http.CanonicalHeaderKey(name)
	if _, twice := d.HeaderUp[name]; twice {
		return disp.Errf("header_up %s already specified", name)
	}
	_, err := parseHeaderUp(name, value)
	if err != nil {
		return disp.Errf("invalid header_up: %w", err)
	}
	d.HeaderUp[name] = value
	return nil
}

// known lists names for an error message.
func known(providers map[string]*Provider) string {
	if len(providers) == 0 {
		return "the global option ciba defines none"
	}
	return "the global option ciba defines " + strings.Join(slices.Sorted(maps.Keys(providers)), ", ")
}

// Interface guards
var (
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
