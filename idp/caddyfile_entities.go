package idp

import (
	"strconv"
)

// scope reads the definition of a scope.
func (p *parser) scope() error {
	scope := new(Scope)
	start := p.Token()
	err := p.text(&scope.Name)
	if err != nil {
		return err
	}
	seen := make(options)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		err := seen.once(p.Dispenser)
		if err != nil {
			return err
		}
		switch p.Val() {
		case "display_name":
			err = p.text(&scope.DisplayName)
		case "description":
			err = p.text(&scope.Description)
		case "required":
			err = p.flag(&scope.Required)
		case "emphasize":
			err = p.flag(&scope.Emphasize)
		case "claims":
			err = p.list(&scope.Claims)
		case "audience":
			err = p.text(&scope.Audience)
		default:
			err = p.unknown()
		}
		if err != nil {
			return err
		}
	}
	for _, other := range p.handler.Scopes {
		if other.Name == scope.Name {
			return errorAt(start, errTwice("scope", scope.Name))
		}
	}
	err = scope.check()
	if err != nil {
		return errorAt(start, err)
	}
	p.handler.Scopes = append(p.handler.Scopes, scope)
	return nil
}

// client reads the definition of a client.
func (p *parser) client() error {
	client := new(Client)
	start := p.Token()
	err := p.text(&client.ID)
	if err != nil {
		return err
	}
	seen := make(options)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		err := seen.once(p.Dispenser)
		if err != nil {
			return err
		}
		switch p.Val() {
		case "name":
			err = p.text(&client.Name)
		case "uri":
			err = p.link(&client.URI)
		case "logo_uri":
			err = p.link(&client.LogoURI)
		case "secret":
			err = p.secrets(client)
		case "auth_method":
			err = p.text(&client.AuthMethod)
		case "jwks":
			err = p.text(&client.JWKSFile)
		case "scopes":
			p.uses = append(p.uses, scopeUse{client: client, at: p.Token()})
			err = p.list(&client.Scopes)
		case "disabled":
			err = p.flag(&client.Disabled)
		default:
			err = p.unknown()
		}
		if err != nil {
			return err
		}
	}
	for _, other := range p.handler.Clients {
		if other.ID == client.ID {
			return errorAt(start, errTwice("client", client.ID))
		}
	}
	err = client.check()
	if err != nil {
		return errorAt(start, err)
	}
	p.handler.Clients = append(p.handler.Clients, client)
	return nil
}

// secrets reads a client's secrets and checks the hashes among them.
func (p *parser) secrets(client *Client) error {
	err := p.list(&client.Secrets)
	if err != nil {
		return err
	}
	for _, secret := range client.Secrets {
		err = checkSecret(secret)
		if err != nil {
			return p.WrapErr(err)
		}
	}
	return nil
}

// link reads an https URL.
func (p *parser) link(into *string) error {
	err := p.text(into)
	if err != nil {
		return err
	}
	return p.wrap(checkLink(*into))
}

// user reads the definition of a user.
func (p *parser) user() error {
	user := new(User)
	start := p.Token()
	err := p.text(&user.Username)
	if err != nil {
		return err
	}
	seen := make(options)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if p.Val() != "claim" {
			err := seen.once(p.Dispenser)
			if err != nil {
				return err
			}
		}
		var err error
		switch p.Val() {
		case "name":
			err = p.text(&user.Name)
		case "password":
			err = p.password(&user.Password)
		case "subject":
			err = p.text(&user.Subject)
		case "claim":
			err = p.claim(user)
		case "disabled":
			err = p.flag(&user.Disabled)
		default:
			err = p.unknown()
		}
		if err != nil {
			return err
		}
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

// password reads a password's hash, or a placeholder for it.
func (p *parser) password(into *string) error {
	err := p.text(into)
	if err != nil || isReference(*into) {
		return err
	}
	return p.wrap(checkPasswordHash(*into))
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
