package idp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/approval/federation"
)

// SignInWith is another OpenID Provider at which customers can sign in to the approval
// app, for those who have an account there already. The app is a client there, by the
// authorization code flow with PKCE; register as its redirect URI the issuer of this
// provider followed by "/sign-in/with/NAME/callback".
//
// Who comes back has to be one of the users here, and is refused otherwise. An
// approval asks for a new sign-in over there (prompt=login) unless the last one is
// newer than the request, and the other provider has to say when it was (auth_time).
// Customers with a passkey or an authenticator app here approve with that.
type SignInWith struct {
	// The name in the redirect URI: up to 32 lower-case letters, digits and
	// hyphens. Required.
	Name string `json:"name,omitempty"`

	// What customers know the other provider by. Default: the name.
	DisplayName string `json:"display_name,omitempty"`

	// The other provider's issuer identifier, exactly as in its metadata. It is
	// https; plain http is taken for loopback hosts only. The metadata are read
	// when the first customer needs them. Required.
	Issuer string `json:"issuer,omitempty"`

	// The app's client over there. Required.
	ClientID string `json:"client_id,omitempty"`

	// A placeholder, `{env.…}` or `{file.…}`, for the client's secret. Required.
	ClientSecret string `json:"client_secret,omitempty"`

	// The scopes that are asked for besides openid, for example those that bring
	// the claim. Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// The claim, in the ID Token or from the userinfo endpoint, that names the
	// customer. Take one that people over there cannot choose or change: whoever
	// has the value is let in as that customer. An email counts only if the other
	// provider says that it is verified. Default: sub.
	Claim string `json:"claim,omitempty"`

	// Whether the claim is a subject of this provider, and not what customers
	// sign in with. Default: false.
	BySubject bool `json:"by_subject,omitempty"`

	// The authentication context classes (acr_values) of which a sign-in over
	// there must reach one. Default: any will do.
	ACRValues []string `json:"acr_values,omitempty"`

	// The authentication context classes here that a sign-in over there stands
	// for, by the acr that it says. Default: none, so that it is not enough for
	// requests that demand a class.
	Classes map[string]string `json:"classes,omitempty"`

	// How old a sign-in over there may be for signing in here. Default: 12h. At
	// most 24h.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// The certificate authorities that the other provider is verified with: files
	// in PEM, read when the config is loaded. Placeholders are resolved. Default:
	// those of the system.
	CAFiles []string `json:"ca_files,omitempty"`
}

// maxSignInAge bounds the option max_age.
const maxSignInAge = 24 * time.Hour

// check finds mistakes that can be found without resolving placeholders.
func (s *SignInWith) check() error {
	err := federation.Config{Name: s.Name, Issuer: s.Issuer, ClientID: s.ClientID, MaxAge: time.Duration(s.MaxAge)}.Check()
	if err != nil {
		return fmt.Errorf("sign_in_with '%s': %w", s.Name, err)
	}
	if s.ClientSecret == "" {
		return fmt.Errorf("sign_in_with '%s' has no client_secret", s.Name)
	}
	err = checkToken("client_secret", s.ClientSecret)
	if err != nil {
		return fmt.Errorf("sign_in_with '%s': %w", s.Name, err)
	}
	if time.Duration(s.MaxAge) > maxSignInAge || s.MaxAge != 0 && time.Duration(s.MaxAge) < time.Minute {
		return fmt.Errorf("sign_in_with '%s': max_age is %s, but must be from 1m to %s", s.Name, time.Duration(s.MaxAge), maxSignInAge)
	}
	for theirs, ours := range s.Classes {
		if !isClass(theirs) || !isClass(ours) {
			return fmt.Errorf("sign_in_with '%s': class '%s' must be printable ASCII characters without spaces", s.Name, theirs)
		}
		if len(s.ACRValues) > 0 && !slices.Contains(s.ACRValues, theirs) {
			return fmt.Errorf("sign_in_with '%s': class '%s' is not among acr_values, and would never be reached", s.Name, theirs)
		}
	}
	if slices.ContainsFunc(s.ACRValues, func(value string) bool { return !isClass(value) }) {
		return fmt.Errorf("sign_in_with '%s': acr_values must be printable ASCII characters without spaces", s.Name)
	}
	return nil
}

// isClass reports whether s can be an authentication context class.
func isClass(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// signInWith is a SignInWith with its secrets resolved.
type signInWith struct {
	Configured SignInWith
	Secret     string
	CAs        [][]byte
}

// settings reads the secret and the authorities.
func (s *SignInWith) settings(repl *caddy.Replacer) (signInWith, error) {
	resolved := signInWith{Configured: *s}
	var err error
	resolved.Secret, _, err = resolveSecret(repl, "client_secret", s.ClientSecret)
	if err != nil {
		return resolved, fmt.Errorf("sign_in_with '%s': %w", s.Name, err)
	}
	if resolved.Secret == "" {
		return resolved, fmt.Errorf("sign_in_with '%s': %w", s.Name, errors.New("the client_secret is empty"))
	}
	resolved.CAs, err = readCertificates(repl, "sign_in_with ca", s.CAFiles)
	return resolved, err
}

// federations are the other providers as the approval app takes them.
func (s *settings) federations() ([]approval.Federation, error) {
	var all []approval.Federation
	for _, resolved := range s.SignInWith {
		with := resolved.Configured
		roots, err := certPool(resolved.CAs)
		if err != nil {
			return nil, err
		}
		issuer, err := federation.New(federation.Config{
			Name: with.Name, Issuer: with.Issuer, ClientID: with.ClientID, ClientSecret: resolved.Secret,
			RedirectURL: approval.FederationCallback(s.Issuer, with.Name), Scopes: with.Scopes, ACRValues: with.ACRValues,
			MaxAge: time.Duration(with.MaxAge), Client: federation.NewClient(roots),
		})
		if err != nil {
			return nil, fmt.Errorf("sign_in_with '%s': %w", with.Name, err)
		}
		all = append(all, approval.Federation{
			Issuer: issuer, Title: with.DisplayName, Claim: with.Claim, BySubject: with.BySubject, Classes: with.Classes,
		})
	}
	return all, nil
}

// classes are the authentication context classes that approvals can have.
func (s *settings) classes() []string {
	all := s.ACR.All()
	for _, with := range s.SignInWith {
		for _, class := range with.Configured.Classes {
			if !slices.Contains(all, class) {
				all = append(all, class)
			}
		}
	}
	// Maps have no order, and the metadata tell them.
	slices.Sort(all[len(s.ACR.All()):])
	return all
}
