package idp

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/text/unicode/norm"

	"github.com/caddyciba/gateway/idp/provider"
)

// User is a customer: somebody who signs in to the approval app and decides.
type User struct {
	// What the customer signs in with, and what clients send as login_hint.
	// Upper and lower case are the same. Required.
	Username string `json:"username,omitempty"`

	// The customer's name, as the approval app greets them and as the claim
	// name gives it to clients. Default: none.
	Name string `json:"name,omitempty"`

	// The hash of the customer's password as `caddy hash-password --algorithm
	// argon2id` prints it, or a placeholder for it. Default: none, and the
	// customer signs in with a passkey, the first of which is made by a link that
	// `caddy ciba-idp user link` prints.
	Password string `json:"password,omitempty"`

	// The hash of a code that clients with user_code must know to ask this
	// customer, in the form of password, or a placeholder for it. It should not
	// be the password. Default: none, and nobody is asked for a code.
	UserCode string `json:"user_code,omitempty"`

	// The subject identifier: what clients and APIs know the customer by, for
	// ever. At most 255 characters of ASCII. Default: the username.
	Subject string `json:"subject,omitempty"`

	// Claims about the customer, which scopes give to clients. Default: none.
	Claims map[string]any `json:"claims,omitempty"`

	// Whether the customer is locked out: they cannot sign in, nobody can ask
	// them, and what they have approved cannot be redeemed. Default: false.
	Disabled bool `json:"disabled,omitempty"`
}

// reservedClaims are set by the provider itself.
var reservedClaims = map[string]bool{
	"sub": true, "iss": true, "aud": true, "exp": true, "iat": true, "nbf": true, "jti": true,
	"acr": true, "amr": true, "azp": true, "nonce": true, "auth_time": true, "at_hash": true,
	"client_id": true, "scope": true, "cnf": true, "txn": true, "authorization_details": true,
}

// check finds what is wrong with the user by itself, without resolving
// placeholders.
func (u *User) check() error {
	err := u.checkIdentity()
	if err != nil {
		return err
	}
	for what, hash := range map[string]string{"password": u.Password, "user_code": u.UserCode} {
		if hash == "" || isReference(hash) {
			continue
		}
		err := checkHash(what, hash)
		if err != nil {
			return fmt.Errorf("user '%s': %w", u.Username, err)
		}
	}
	return nil
}

// checkIdentity finds what is wrong with names and claims of a user.
func (u *User) checkIdentity() error {
	if u.Username == "" {
		return errors.New("user has no username")
	}
	if !isPlain(u.Username) {
		return fmt.Errorf("username '%s' contains a character that usernames cannot have", u.Username)
	}
	subject := u.subject()
	if len(subject) > 255 || strings.ContainsFunc(subject, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fmt.Errorf("user '%s': subject '%s' must be at most 255 printable ASCII characters; set one", u.Username, subject)
	}
	for claim := range u.Claims {
		if claim == "" || reservedClaims[claim] {
			return fmt.Errorf("user '%s': claim '%s' is set by the provider itself", u.Username, claim)
		}
		if strings.HasPrefix(claim, "urn:openid:params:jwt:claim:") {
			return fmt.Errorf("user '%s': claim '%s' is reserved", u.Username, claim)
		}
	}
	_, named := u.Claims["name"]
	if named && u.Name != "" {
		return fmt.Errorf("user '%s': the name is given twice, as name and as claim", u.Username)
	}
	return nil
}

// subject is the configured subject or its default.
func (u *User) subject() string {
	if u.Subject != "" {
		return u.Subject
	}
	return u.Username
}

// settings returns the user as the provider takes it.
func (u *User) settings(repl *caddy.Replacer) (provider.User, error) {
	var password, code string
	var err error
	if u.Password != "" {
		password, err = resolveHash(repl, "password", u.Password)
		if err != nil {
			return provider.User{}, fmt.Errorf("user '%s': %w", u.Username, err)
		}
	}
	if u.UserCode != "" {
		code, err = resolveHash(repl, "user_code", u.UserCode)
		if err != nil {
			return provider.User{}, fmt.Errorf("user '%s': %w", u.Username, err)
		}
	}
	return provider.User{
		ID:           u.subject(),
		Username:     u.Username,
		Name:         u.Name,
		PasswordHash: password,
		UserCodeHash: code,
		Claims:       u.Claims,
		Disabled:     u.Disabled,
	}, nil
}

// isPlain tells names that look the same to everybody: no spaces, controls,
// invisible characters or marks of writing direction.
func isPlain(s string) bool {
	for _, c := range s {
		if c == unicode.ReplacementChar || !unicode.IsGraphic(c) || unicode.IsSpace(c) || c == '{' || c == '}' {
			return false
		}
	}
	return s == norm.NFC.String(s)
}

// loginKey makes spellings equal that a keyboard makes different, as the
// provider does when it looks a user up.
func loginKey(login string) string {
	return strings.ToLower(norm.NFC.String(login))
}
