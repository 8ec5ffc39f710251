package provider

import (
	"net/url"
	"slices"
)

// maxResources bounds how many resources one request may name.
const maxResources = 16

var errTarget = refuse(codeInvalidTarget, "A resource is malformed, unknown, or not one that the scope is for.")

// readResources checks the resource parameters of an authentication request (RFC
// 8707 section 2): each must be the audience of a scope that is asked for.
func (p *Provider) readResources(values, scope []string) ([]string, error) {
	return narrowResources(values, p.scopeAudiences(scope))
}

// narrowResources returns the values, each once, if all of them are allowed.
func narrowResources(values, allowed []string) ([]string, error) {
	if len(values) > maxResources {
		return nil, errTarget
	}
	var resources []string
	for _, value := range values {
		u, err := url.Parse(value)
		if err != nil || !u.IsAbs() || u.Fragment != "" || !slices.Contains(allowed, value) {
			return nil, errTarget
		}
		if !slices.Contains(resources, value) {
			resources = append(resources, value)
		}
	}
	return resources, nil
}

// scopeAudiences returns the resource servers of scopes.
func (p *Provider) scopeAudiences(scope []string) []string {
	var audiences []string
	for _, s := range p.describeScopes(scope) {
		if s.Audience != "" && !slices.Contains(audiences, s.Audience) {
			audiences = append(audiences, s.Audience)
		}
	}
	return audiences
}

// targets returns the resource servers of an access token: those that the token
// request names out of those of the request, else all of these.
func (p *Provider) targets(h *heldRequest, scope, values []string) ([]string, error) {
	allowed := p.scopeAudiences(scope)
	if len(h.Resources) > 0 {
		allowed = slices.DeleteFunc(allowed, func(a string) bool { return !slices.Contains(h.Resources, a) })
	}
	if len(values) == 0 {
		return allowed, nil
	}
	return narrowResources(values, allowed)
}

// scopeFor leaves out the scopes of resource servers that a token is not for.
func (p *Provider) scopeFor(scope, targets []string) []string {
	var kept []string
	for _, s := range p.describeScopes(scope) {
		if s.Audience == "" || slices.Contains(targets, s.Audience) {
			kept = append(kept, s.Name)
		}
	}
	return kept
}
