package caddyciba

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/stepup/policy"
)

// Limit bounds how often customers are asked.
type Limit struct {
	// Per is whose prompts are counted: `customer` or `caller`. Required.
	Per string `json:"per,omitempty"`

	// Count is how many prompts there may be, from 1 to 1000. Required.
	Count int `json:"count,omitempty"`

	// Window is the time in which prompts are counted, up to 24h. Default: 0, which
	// counts those that wait for a decision at one time.
	Window caddy.Duration `json:"window,omitempty"`
}

// The limits of a party for which the operator sets none.
var defaultLimits = []Limit{
	{Per: string(stepup.PerCustomer), Count: 5},
	{Per: string(stepup.PerCustomer), Count: 30, Window: caddy.Duration(10 * time.Minute)},
	{Per: string(stepup.PerCaller), Count: 300, Window: caddy.Duration(time.Minute)},
}

// promptLimits returns the limits with defaults.
func (h *Handler) promptLimits() ([]stepup.PromptLimit, error) {
	if h.NoLimits {
		if len(h.Limits) > 0 {
			return nil, errors.New("limits and no_limits exclude each other")
		}
		return nil, nil
	}
	limits := slices.Clone(h.Limits)
	for _, l := range defaultLimits {
		if !slices.ContainsFunc(h.Limits, func(own Limit) bool { return own.Per == l.Per }) {
			limits = append(limits, l)
		}
	}
	var list []stepup.PromptLimit
	for _, l := range limits {
		converted := stepup.PromptLimit{Per: stepup.PromptParty(l.Per), Count: l.Count, Window: time.Duration(l.Window)}
		err := converted.Check()
		if err != nil {
			return nil, err
		}
		list = append(list, converted)
	}
	return list, nil
}

// applyPolicy adds to a route what the options of this file say.
func (h *Handler) applyPolicy(route *stepup.Route) error {
	var err error
	route.ReportOnly = h.ReportOnly
	route.BackOff = !h.NoLimits
	route.Prompts, err = h.promptLimits()
	if err != nil {
		return err
	}
	route.Caller = func(ctx context.Context) string {
		repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return ""
		}
		user, _ := repl.GetString(userKey)
		return callerOf(ctx, repl, user)
	}
	if h.When == "" {
		return nil
	}
	condition, err := policy.Compile(h.When)
	if err != nil {
		return fmt.Errorf("when: %w", err)
	}
	if h.Reuse > 0 && condition.ReadsBody() {
		return errReuseWhen
	}
	route.When = func(ctx context.Context, s *stepup.Snapshot, d *stepup.Document) (bool, error) {
		return h.needed(ctx, condition, s, d)
	}
	return nil
}

// needed evaluates the condition. A body that cannot be read is refused, whatever
// the condition makes of it; a field that cannot be used makes an approval needed.
func (h *Handler) needed(ctx context.Context, condition *policy.Condition, s *stepup.Snapshot, d *stepup.Document) (bool, error) {
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false, errNoReplacer
	}
	if condition.ReadsBody() {
		err := d.Check()
		if err != nil {
			return false, err
		}
	}
	user, _ := repl.GetString(userKey)
	needed, err := condition.Holds(policy.Request{
		Method:      s.Method(),
		Host:        s.Host(),
		Path:        s.Path(),
		Caller:      callerOf(ctx, repl, user),
		Field:       d.Values,
		Placeholder: strictly(s, repl.GetString),
	})
	if err != nil {
		h.logger.Info("the condition could not be decided, so the request needs an approval",
			zap.String("route", h.route.Name), zap.Error(err))
	}
	return needed, nil
}

// checkPrefixes finds namespace prefixes in paths into the body that stand for
// nothing. Without any namespace, a colon in a name is no prefix, unless the body
// is XML.
func (h *Handler) checkPrefixes() error {
	if len(h.Namespaces) == 0 {
		return nil
	}
	sources := []string{h.Customer, h.Message}
	if h.Details != nil {
		for _, source := range h.Details.Fields {
			sources = append(sources, source)
		}
	}
	var prefixes []string
	for _, source := range sources {
		t, err := parseTemplate(source)
		if err != nil {
			return err
		}
		prefixes = append(prefixes, t.prefixes()...)
	}
	if h.When != "" {
		condition, err := policy.Compile(h.When)
		if err != nil {
			return fmt.Errorf("when: %w", err)
		}
		prefixes = append(prefixes, condition.Prefixes()...)
	}
	for _, prefix := range prefixes {
		if h.Namespaces[prefix] == "" {
			return fmt.Errorf("the namespace prefix '%s' is not declared: there must be an option namespace for it", strings.TrimSpace(prefix))
		}
	}
	return nil
}
