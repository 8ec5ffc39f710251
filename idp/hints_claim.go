package idp

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

func init() {
	caddy.RegisterModule(new(ClaimHints))
}

// ClaimHints lets clients name customers also by claims, such as a customer number, a
// phone number or an e-mail address, in a login_hint or in a login_hint_token. The name
// by which a customer signs in stays a hint, and comes first. A value that two
// customers have leads to none of them.
//
// It needs a directory that can find customers by their claims: those of the config
// itself, or a module of ciba_idp.users that says that it can.
type ClaimHints struct {
	// The names of the claims. A hint must be equal to the value of one of them, or
	// to an element if it is a list. Required.
	Claims []string `json:"claims,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*ClaimHints) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  hintNamespace + ".claim",
		New: func() caddy.Module { return new(ClaimHints) },
	}
}

// Provision checks the names.
func (c *ClaimHints) Provision(caddy.Context) error { return c.check() }

func (c *ClaimHints) check() error {
	if len(c.Claims) == 0 {
		return errors.New("hints by claim need the name of a claim")
	}
	for i, name := range c.Claims {
		if name == "" || slices.Contains(c.Claims[:i], name) {
			return fmt.Errorf("hints by claim have an empty or repeated value '%s'", name)
		}
	}
	return nil
}

// errNoClaimFinder says that the directory can't do what hints by claim need.
var errNoClaimFinder = errors.New("the source of users cannot find them by a claim")

// Resolve implements provider.HintResolver. It looks everywhere, also when it has found
// somebody, so that it takes the same time for everybody.
func (c *ClaimHints) Resolve(ctx context.Context, h *provider.Hint, users provider.UserStore) (*provider.User, error) {
	if h.Subject != "" {
		return users.BySubject(ctx, h.Subject)
	}
	byName, err := users.ByLogin(ctx, h.Login)
	if err != nil && !errors.Is(err, provider.ErrUserNotFound) {
		return nil, err
	}
	finder, ok := users.(provider.ClaimFinder)
	if !ok {
		return nil, errNoClaimFinder
	}
	found := make(map[string]*provider.User)
	for _, name := range c.Claims {
		more, err := finder.ByClaim(ctx, name, h.Login)
		if err != nil {
			return nil, fmt.Errorf("looking up user by claim: %w", err)
		}
		for _, user := range more {
			found[user.ID] = user
		}
	}
	if byName != nil {
		return byName, nil
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d users have the claim: %w", len(found), provider.ErrUserNotFound)
	}
	for _, user := range found {
		byName = user
	}
	return byName, nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*ClaimHints)(nil)
	_ HintResolver      = (*ClaimHints)(nil)
)
