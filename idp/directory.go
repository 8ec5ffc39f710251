package idp

import (
	"context"
	"errors"

	"github.com/caddyciba/gateway/idp/provider"
)

// Users is a source of customers: the place to connect an existing directory. It is
// what a module of the namespace ciba_idp.users implements.
//
// Its methods are those of a user store of the provider, which documents them; the
// hashes of passwords and user codes must be argon2id in the PHC form, or bcrypt.
// They may be called, and go on, after Cleanup of the module, while a config is
// being replaced. A source that cannot answer makes requests fail as temporarily
// unavailable, and so does one that panics.
type Users interface {
	provider.UserStore
}

// directory finds the customers of an instance: in the source of the config in use,
// or among those that the config names itself, and then among those that were added
// over the admin API. One of the first kind hides one of the second that has the same
// name or subject.
type directory struct {
	configured provider.UserStore
	stored     *provider.StoredUsers
	out        *outlet
}

// ByLogin implements provider.UserStore.
func (d directory) ByLogin(ctx context.Context, hint string) (*provider.User, error) {
	user, err := d.find(func(users provider.UserStore) (*provider.User, error) { return users.ByLogin(ctx, hint) })
	if errors.Is(err, provider.ErrUserNotFound) {
		return d.stored.ByLogin(ctx, hint)
	}
	return user, err
}

// BySubject implements provider.UserStore.
func (d directory) BySubject(ctx context.Context, subject string) (*provider.User, error) {
	user, err := d.find(func(users provider.UserStore) (*provider.User, error) { return users.BySubject(ctx, subject) })
	if errors.Is(err, provider.ErrUserNotFound) {
		return d.stored.BySubject(ctx, subject)
	}
	return user, err
}

// find asks the source of the config in use.
func (d directory) find(ask func(provider.UserStore) (*provider.User, error)) (user *provider.User, err error) {
	s := d.out.current.Load()
	if s.users == nil {
		return ask(d.configured)
	}
	defer s.guard(usersNamespace, &err)
	return found(ask(s.users))
}

// ByClaim implements provider.ClaimFinder, if the source of the config in use does. It
// does not find those who were added over the admin API.
func (d directory) ByClaim(ctx context.Context, name, value string) (users []*provider.User, err error) {
	s := d.out.current.Load()
	var source provider.UserStore = s.users
	if s.users == nil {
		source = d.configured
	}
	finder, ok := source.(provider.ClaimFinder)
	if !ok {
		return nil, errNoClaimFinder
	}
	defer s.guard(usersNamespace, &err)
	return finder.ByClaim(ctx, name, value)
}

// checkHints refuses hints by claim with a source of users that does not know claims.
func (g guests) checkHints() error {
	if g.hints == nil || g.users == nil {
		return nil
	}
	_, byClaim := g.hints.module.(*ClaimHints)
	_, finds := g.users.(provider.ClaimFinder)
	if byClaim && !finds {
		return errNoClaimFinder
	}
	return nil
}

// found takes no user without an error for an unknown one.
func found(user *provider.User, err error) (*provider.User, error) {
	if err == nil && user == nil {
		return nil, provider.ErrUserNotFound
	}
	return user, err
}

// Interface guard
var _ provider.UserStore = directory{}
