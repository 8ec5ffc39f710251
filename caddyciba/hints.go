package caddyciba

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// resourceParameter is the parameter of RFC 8707, the one that may be repeated.
const resourceParameter = "resource"

// hints is what the provider is told of a request beside customer and message.
type hints struct {
	login, loginToken, idToken, userCode *template
	resource                             []string
	parameters                           map[string]*template
}

// hintTemplates parses the settings of a handler.
func (h *Handler) hintTemplates() (*hints, error) {
	t := &hints{resource: h.Resource, parameters: make(map[string]*template)}
	set := 0
	for _, option := range []struct {
		name, source string
		field        **template
		hint         bool
	}{
		{"login_hint", h.LoginHint, &t.login, true},
		{"login_hint_token", h.LoginHintToken, &t.loginToken, true},
		{"id_token_hint", h.IDTokenHint, &t.idToken, true},
		{"user_code", h.UserCode, &t.userCode, false},
	} {
		if option.source == "" {
			continue
		}
		parsed, err := parseTemplate(option.source)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option.name, err)
		}
		*option.field = parsed
		if option.hint {
			set++
		}
	}
	if set > 1 {
		return nil, errSeveralHints
	}
	for _, uri := range h.Resource {
		err := checkResource(uri)
		if err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.Parameters)) {
		err := checkParameter(name)
		if err != nil {
			return nil, err
		}
		t.parameters[name], err = parseTemplate(h.Parameters[name])
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	if len(h.Resource) > 0 && t.parameters[resourceParameter] != nil {
		return nil, errors.New("resource is both an option and a parameter")
	}
	return t, nil
}

// errSeveralHints refuses what CIBA Core section 7.1 does not allow.
var errSeveralHints = errors.New("login_hint, login_hint_token and id_token_hint exclude each other")

// checkResource refuses what RFC 8707 section 2 does not allow: the URI of a
// resource is absolute and has no fragment.
func checkResource(uri string) error {
	u, err := url.Parse(uri)
	if err != nil || !u.IsAbs() || u.Fragment != "" {
		return fmt.Errorf("resource '%s' is not an absolute URI without fragment", uri)
	}
	return nil
}

// fill adds to the question what the templates say of this request. A hint that
// the server cannot fill in leaves nobody to ask.
func (t *hints) fill(ctx context.Context, question *stepup.Ask, s *stepup.Snapshot, d *stepup.Document) error {
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return errors.New("request has no replacer")
	}
	lookup := strictly(s, repl.GetString)
	for _, hint := range []struct {
		template *template
		field    *string
	}{
		{t.login, &question.LoginHint},
		{t.loginToken, &question.LoginHintToken},
		{t.idToken, &question.IDTokenHint},
	} {
		if hint.template == nil {
			continue
		}
		text, err := hint.template.fill(d.Lookup, lookup)
		if nobody(err) || errors.Is(err, errSeveral) {
			question.Customer = ""
			return nil
		}
		if err != nil {
			return fmt.Errorf("hint: %w", err)
		}
		*hint.field = text
	}
	if t.userCode != nil {
		code, err := t.userCode.fill(d.Lookup, lookup)
		if err != nil && !errors.Is(err, errEmptyPlaceholder) && !errors.Is(err, errUnknownPlaceholder) {
			return fmt.Errorf("user_code: %w", err)
		}
		question.UserCode = code
	}
	if len(t.resource) == 0 && len(t.parameters) == 0 {
		return nil
	}
	question.Parameters = make(url.Values)
	if len(t.resource) > 0 {
		question.Parameters[resourceParameter] = slices.Clone(t.resource)
	}
	for name, parameter := range t.parameters {
		text, err := parameter.fill(d.Lookup, lookup)
		if err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
		question.Parameters.Set(name, text)
	}
	return nil
}
