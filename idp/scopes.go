package idp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyciba/gateway/idp/provider"
)

// Scope is something a client may ask for and the customer may grant.
type Scope struct {
	// The scope as clients send it, for example "transfers". Required. It
	// consists of printable ASCII characters without space, '"' and '\'.
	Name string `json:"name,omitempty"`

	// What the approval page calls the scope, in the customer's words.
	// Default: the name.
	DisplayName string `json:"display_name,omitempty"`

	// A sentence under the display name that says what granting it means.
	// Default: none.
	Description string `json:"description,omitempty"`

	// Whether a request can only be approved with this scope. The customer
	// cannot untick it. Default: false. The scope openid is always required.
	Required bool `json:"required,omitempty"`

	// Whether the approval page makes the scope stand out, because granting
	// it moves money or the like. Default: false.
	Emphasize bool `json:"emphasize,omitempty"`

	// The names of the claims about the customer that the scope gives to the
	// client at the userinfo endpoint, and to the audience in access tokens.
	// Default: none.
	Claims []string `json:"claims,omitempty"`

	// The API that the scope is for: the URL which access tokens granted with
	// the scope carry as audience. Default: none.
	Audience string `json:"audience,omitempty"`
}

// standardScopes are the scopes that the provider knows without being told.
var standardScopes = []string{"openid", "profile", "email", "phone", "address"}

// check finds what is wrong with the scope by itself.
func (s *Scope) check() error {
	if s.Name == "" {
		return errors.New("scope has no name")
	}
	if !isScopeToken(s.Name) {
		return fmt.Errorf("scope '%s' contains a character that scopes cannot have", s.Name)
	}
	seen := make(map[string]bool, len(s.Claims))
	for _, claim := range s.Claims {
		if seen[claim] {
			return fmt.Errorf("scope '%s': claim '%s' is named twice", s.Name, claim)
		}
		seen[claim] = true
	}
	return nil
}

// settings returns the scope as the provider takes it.
func (s *Scope) settings() provider.Scope {
	return provider.Scope{
		Name:        s.Name,
		DisplayName: s.DisplayName,
		Description: s.Description,
		Required:    s.Required,
		Emphasize:   s.Emphasize,
		Claims:      s.Claims,
		Audience:    s.Audience,
	}
}

// isScopeToken tells the scope-token of RFC 6749 section 3.3.
func isScopeToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && !strings.ContainsAny(s, "{}")
}
