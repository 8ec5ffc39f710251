package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// User is a person who can approve requests.
type User struct {
	// ID is the subject: the value of the sub claim. It never changes and is
	// never given to another person. It has 1 to 255 printable ASCII characters.
	ID string

	// Username is what the user signs in with and what login_hint names.
	// Upper and lower case are the same.
	Username string

	// Name is the user's name as people write it.
	Name string

	// PasswordHash is an argon2id hash in PHC format. This package does not
	// look at it.
	PasswordHash string

	// UserCodeHash is a hash, in PHC format, of the code that clients with
	// Client.UserCode must know to ask this user. Empty: none is asked for. The
	// code should not be the password.
	UserCodeHash string

	// Claims are further claims about the user. The keys sub, name and
	// preferred_username are set from the fields above if they are absent.
	Claims map[string]any

	// Disabled users get no requests, can't approve any, and what they have
	// approved can't be redeemed.
	Disabled bool
}

// UserStore finds users. It is the place to connect an existing directory of
// customers. Both methods return an error wrapping [ErrUserNotFound] if there is
// no such user; any other error means that the store could not answer, and the
// request at hand is refused as temporarily unavailable. Methods must be safe for
// concurrent use and take about the same time for known and unknown users.
type UserStore interface {
	// ByLogin returns the user that a login_hint or a sign-in name stands for.
	ByLogin(ctx context.Context, hint string) (*User, error)

	// BySubject returns the user with the given ID.
	BySubject(ctx context.Context, subject string) (*User, error)
}

// StaticUsers is a UserStore over a fixed list. It is safe for concurrent use.
type StaticUsers struct {
	bySubject map[string]*User
	byLogin   map[string]*User
}

// NewStaticUsers returns a store of the given users. It reports ids and user
// names that are malformed or not unique.
func NewStaticUsers(users []User) (*StaticUsers, error) {
	s := &StaticUsers{
		bySubject: make(map[string]*User, len(users)),
		byLogin:   make(map[string]*User, len(users)),
	}
	var errs []error
	for _, u := range users {
		login := foldLogin(u.Username)
		switch {
		case !isSubject(u.ID):
			errs = append(errs, fmt.Errorf("user %q: the id must be 1 to 255 printable ASCII characters", u.Username))
		case login == "":
			errs = append(errs, fmt.Errorf("user with id %q: a user name is required", u.ID))
		case s.bySubject[u.ID] != nil:
			errs = append(errs, fmt.Errorf("user id %q is given twice", u.ID))
		case s.byLogin[login] != nil:
			errs = append(errs, fmt.Errorf("user name %q is given twice", u.Username))
		default:
			s.bySubject[u.ID] = &u
			s.byLogin[login] = &u
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ByLogin implements UserStore. It compares user names without regard to case.
func (s *StaticUsers) ByLogin(_ context.Context, hint string) (*User, error) {
	return found(s.byLogin[foldLogin(hint)])
}

// BySubject implements UserStore.
func (s *StaticUsers) BySubject(_ context.Context, subject string) (*User, error) {
	return found(s.bySubject[subject])
}

func found(u *User) (*User, error) {
	if u == nil {
		return nil, ErrUserNotFound
	}
	clone := *u
	return &clone, nil
}

func foldLogin(name string) string {
	return strings.ToLower(norm.NFC.String(name))
}

// isSubject reports whether s can be a sub claim (OpenID Connect Core 1.0
// section 2: at most 255 ASCII characters).
func isSubject(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// claim returns one claim of the user by name.
func (u *User) claim(name string) (any, bool) {
	value, ok := u.Claims[name]
	if ok {
		return value, true
	}
	switch {
	case name == "name" && u.Name != "":
		return u.Name, true
	case name == "preferred_username" && u.Username != "":
		return u.Username, true
	}
	return nil, false
}

// activeUser returns the user with the given subject, or ErrUserNotFound if
// there is none or it is disabled.
func (p *Provider) activeUser(ctx context.Context, subject string) (*User, error) {
	u, err := p.cfg.Users.BySubject(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("looking up user: %w", err)
	}
	if u.Disabled || u.ID != subject {
		return nil, ErrUserNotFound
	}
	return u, nil
}
