package idp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// Where the modules are that have a say in what the provider does, and the keys that
// name one in JSON.
const (
	policyNamespace = "ciba_idp.policies"
	policyInlineKey = "policy"
	hintNamespace   = "ciba_idp.hints"
	hintInlineKey   = "resolver"
	claimNamespace  = "ciba_idp.claims"
	claimInlineKey  = "source"
)

// Policy decides, before a customer is asked, whether a request is let through. It is
// what a module of the namespace ciba_idp.policies implements.
//
// Its method is that of a policy of the provider, which documents it. It may be called,
// and go on, after Cleanup of the module, while a config is being replaced. A policy
// that cannot decide makes the request fail as temporarily unavailable, and so does one
// that panics.
type Policy interface {
	provider.Policy
}

// HintResolver finds the customer that a hint of a client stands for. It is what a
// module of the namespace ciba_idp.hints implements.
//
// Its method is that of a hint resolver of the provider, which documents it. It may be
// called, and go on, after Cleanup of the module, while a config is being replaced. A
// resolver that panics makes the request fail as temporarily unavailable.
type HintResolver interface {
	provider.HintResolver
}

// ClaimsSource tells more about customers than the directory knows. It is what a
// module of the namespace ciba_idp.claims implements.
//
// Its method is that of a source of claims of the provider, which documents it. It may
// be called, and go on, after Cleanup of the module, while a config is being replaced.
// A source that cannot answer makes requests for tokens fail as temporarily
// unavailable, and so does one that panics. Of several sources the later ones win.
type ClaimsSource interface {
	provider.ClaimsSource
}

// extensions are the modules of a config that have a say in what the provider does.
type extensions struct {
	policies []named[Policy]
	hints    *named[HintResolver] // nil: the directory is asked
	claims   []named[ClaimsSource]
}

// named is a module with its id.
type named[M any] struct {
	module M
	id     string
}

// loadExtensions loads these modules of the handler.
func (h *Handler) loadExtensions(ctx caddy.Context) (extensions, error) {
	var e extensions
	var err error
	e.policies, err = loadModules[Policy](ctx, h, "PoliciesRaw", policyNamespace, policyInlineKey, h.PoliciesRaw)
	if err != nil {
		return e, err
	}
	e.claims, err = loadModules[ClaimsSource](ctx, h, "ClaimsRaw", claimNamespace, claimInlineKey, h.ClaimsRaw)
	if err != nil || h.HintsRaw == nil {
		return e, err
	}
	names, err := moduleNames([]json.RawMessage{h.HintsRaw}, hintInlineKey)
	if err != nil {
		return e, err
	}
	module, err := ctx.LoadModule(h, "HintsRaw")
	if err != nil {
		return e, fmt.Errorf("loading hint resolver: %w", err)
	}
	resolver, ok := module.(HintResolver)
	if !ok {
		return e, fmt.Errorf("module %s.%s does not resolve hints", hintNamespace, names[0])
	}
	e.hints = &named[HintResolver]{module: resolver, id: hintNamespace + "." + names[0]}
	return e, nil
}

// loadModules loads the modules of one field of the handler.
func loadModules[M any](ctx caddy.Context, h *Handler, field, namespace, inlineKey string, raw []json.RawMessage) ([]named[M], error) {
	if len(raw) == 0 {
		return nil, nil
	}
	names, err := moduleNames(raw, inlineKey)
	if err != nil {
		return nil, err
	}
	modules, err := ctx.LoadModule(h, field)
	if err != nil {
		return nil, fmt.Errorf("loading modules of %s: %w", namespace, err)
	}
	var loaded []named[M]
	for i, module := range modules.([]any) {
		id := namespace + "." + names[i]
		typed, ok := module.(M)
		if !ok {
			return nil, fmt.Errorf("module %s is not what its namespace is for", id)
		}
		loaded = append(loaded, named[M]{module: typed, id: id})
	}
	return loaded, nil
}

// extend leads the provider to the modules of the config in use. Configs that differ
// in which modules they have do not share an instance.
func (e extensions) extend(config *provider.Config, out *outlet) {
	if len(e.policies) > 0 {
		config.Policies = []provider.Policy{policies{out}}
	}
	if e.hints != nil {
		config.HintResolver = hints{out}
	}
	if len(e.claims) > 0 {
		config.ClaimsSource = claims{out}
	}
}

// policies asks the policies of the config in use.
type policies struct{ out *outlet }

// Check implements provider.Policy.
func (p policies) Check(ctx context.Context, r *provider.PolicyRequest) error {
	s := p.out.current.Load()
	for _, policy := range s.policies {
		err := policyOf(policy).check(ctx, s, r)
		if err != nil {
			return err
		}
	}
	return nil
}

type policyOf named[Policy]

func (p policyOf) check(ctx context.Context, s *sink, r *provider.PolicyRequest) (err error) {
	defer s.guard(p.id, &err)
	return p.module.Check(ctx, r)
}

// hints asks the hint resolver of the config in use.
type hints struct{ out *outlet }

// errNoResolver says that the config in use has no resolver any more.
var errNoResolver = errors.New("the config in use has no hint resolver")

// Resolve implements provider.HintResolver.
func (h hints) Resolve(ctx context.Context, hint *provider.Hint, users provider.UserStore) (user *provider.User, err error) {
	s := h.out.current.Load()
	resolver := s.hints
	if resolver == nil {
		return nil, errNoResolver
	}
	defer s.guard(resolver.id, &err)
	return resolver.module.Resolve(ctx, hint, users)
}

// claims asks the sources of claims of the config in use.
type claims struct{ out *outlet }

// Claims implements provider.ClaimsSource.
func (c claims) Claims(ctx context.Context, r *provider.ClaimsRequest) (map[string]any, error) {
	s := c.out.current.Load()
	all := make(map[string]any)
	for _, source := range s.claims {
		found, err := sourceOf(source).claims(ctx, s, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source.id, err)
		}
		maps.Copy(all, found)
	}
	return all, nil
}

type sourceOf named[ClaimsSource]

func (c sourceOf) claims(ctx context.Context, s *sink, r *provider.ClaimsRequest) (found map[string]any, err error) {
	defer s.guard(c.id, &err)
	return c.module.Claims(ctx, r)
}

// Interface guards
var (
	_ provider.Policy       = policies{}
	_ provider.HintResolver = hints{}
	_ provider.ClaimsSource = claims{}
)
