package provider

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// scopeOpenID is the scope that every CIBA request must contain.
const scopeOpenID = "openid"

// maxScopes bounds how many scopes one request may name.
const maxScopes = 32

// Scope is a permission that a client can ask for and that is shown to the user.
type Scope struct {
	// Name is the scope value (RFC 6749 section 3.3). Required.
	Name string

	// DisplayName is the heading that the user sees. Default: Name.
	DisplayName string

	// Description tells the user in a sentence what the scope allows.
	Description string

	// Required scopes can't be unticked by the user.
	Required bool

	// Emphasize asks the application to draw attention to the scope.
	Emphasize bool

	// Claims are the names of the user's claims that the scope gives access
	// to at the userinfo endpoint. If Audience is set they are also put into
	// access tokens.
	Claims []string

	// Audience is the resource server that the scope belongs to. It becomes an
	// audience of access tokens with this scope, and a value that clients may
	// send as resource (RFC 8707).
	Audience string
}

// standardScopes returns the scopes of OpenID Connect Core 1.0 section 5.4.
func standardScopes() []Scope {
	return []Scope{
		{Name: scopeOpenID, DisplayName: "Your identity", Description: "Know who you are here.", Required: true},
		{Name: "profile", DisplayName: "Your profile", Description: "See your name and profile.", Claims: []string{
			"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile",
			"picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
		}},
		{Name: "email", DisplayName: "Your e-mail address", Description: "See your e-mail address.", Claims: []string{"email", "email_verified"}},
		{Name: "phone", DisplayName: "Your phone number", Description: "See your phone number.", Claims: []string{"phone_number", "phone_number_verified"}},
		{Name: "address", DisplayName: "Your postal address", Description: "See your postal address.", Claims: []string{"address"}},
	}
}

// compileScopes returns all known scopes by name.
func compileScopes(configured []Scope) (map[string]Scope, error) {
	scopes := make(map[string]Scope, len(configured)+5)
	for _, s := range standardScopes() {
		scopes[s.Name] = s
	}
	seen := make(map[string]bool, len(configured))
	var errs []error
	for _, s := range configured {
		if !isScopeToken(s.Name) {
			errs = append(errs, fmt.Errorf("scope name %q is not a scope token", s.Name))
			continue
		}
		if seen[s.Name] {
			errs = append(errs, fmt.Errorf("scope %q is declared twice", s.Name))
		}
		seen[s.Name] = true
		if s.DisplayName == "" {
			s.DisplayName = s.Name
		}
		if s.Name == scopeOpenID {
			s.Required = true
		}
		s.Claims = append([]string(nil), s.Claims...)
		scopes[s.Name] = s
	}
	return scopes, errors.Join(errs...)
}

// isScopeToken reports whether s is a scope-token of RFC 6749 section 3.3.
func isScopeToken(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// splitScope splits a scope parameter. It returns nil if the value is not a list
// of scope tokens divided by single spaces, or names one twice, or too many.
func splitScope(value string) []string {
	if strings.Count(value, " ") >= maxScopes {
		return nil
	}
	names := strings.Split(value, " ")
	for i, name := range names {
		if !isScopeToken(name) || slices.Contains(names[:i], name) {
			return nil
		}
	}
	return names
}

// describeScopes returns the definitions of the named scopes in their order. A
// scope that was removed from the configuration keeps its name.
func (p *Provider) describeScopes(names []string) []Scope {
	out := make([]Scope, len(names))
	for i, name := range names {
		s, ok := p.scopes[name]
		if !ok {
			s = Scope{Name: name, DisplayName: name}
		}
		out[i] = s
	}
	return out
}
