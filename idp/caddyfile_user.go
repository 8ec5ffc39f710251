package idp

import (
	"errors"
	"strconv"
)

// user reads the definition of a user.
func (p *parser) user() error {
	user := new(User)
	start := p.Token()
	err := p.text(&user.Username)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch p.Val() {
		case "name":
			return p.text(&user.Name)
		case "password":
			return p.hash("password", &user.Password)
		case "user_code":
			return p.hash("user_code", &user.UserCode)
		case "subject":
			return p.text(&user.Subject)
		case "claim":
			return p.claim(user)
		case "disabled":
			return p.flag(&user.Disabled)
		default:
			return p.unknown()
		}
	}, "claim")
	if err != nil {
		return err
	}
	for _, other := range p.handler.Users {
		if loginKey(other.Username) == loginKey(user.Username) {
			return errorAt(start, errTwice("user", user.Username))
		}
	}
	err = user.check()
	if err != nil {
		return errorAt(start, err)
	}
	p.handler.Users = append(p.handler.Users, user)
	return nil
}

// hash reads the hash of what a customer knows, or a placeholder for it.
func (p *parser) hash(what string, into *string) error {
	err := p.text(into)
	if err != nil || isReference(*into) {
		return err
	}
	return p.wrap(checkHash(what, *into))
}

// claim reads one claim. More than one value make a list. The claims that
// OpenID Connect Core 1.0 section 5.1 defines as boolean or number become so;
// every other value is a string.
func (p *parser) claim(user *User) error {
	args := p.RemainingArgs()
	if len(args) < 2 {
		return p.WrapErr(errNoValue)
	}
	name, values := args[0], args[1:]
	_, exists := user.Claims[name]
	if exists {
		return p.Errf("claim '%s' already specified", name)
	}
	if user.Claims == nil {
		user.Claims = make(map[string]any)
	}
	switch {
	case name == "email_verified" || name == "phone_number_verified":
		if len(values) != 1 || values[0] != "true" && values[0] != "false" {
			return p.Errf("claim '%s' must be true or false", name)
		}
		user.Claims[name] = values[0] == "true"
	case name == "updated_at":
		seconds, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil || len(values) != 1 {
			return p.Errf("claim '%s' must be a number of seconds since 1970", name)
		}
		user.Claims[name] = seconds
	case len(values) == 1:
		user.Claims[name] = values[0]
	default:
		user.Claims[name] = values
	}
	return nil
}

// errNoValue says that a claim was named and not given.
var errNoValue = errors.New("claim requires a name and at least one value")
