package idp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// authMethods are the ways for clients to prove who they are.
var authMethods = []string{provider.AuthSecretBasic, provider.AuthSecretPost, provider.AuthPrivateKeyJWT}

// maxKeyFile bounds in bytes what is read as a client's keys.
const maxKeyFile = 256 << 10

// Client is an application that may ask customers for approval, for example a
// gateway. Every client authenticates: there are no public clients in CIBA.
type Client struct {
	// The client_id. Required.
	ID string `json:"id,omitempty"`

	// What the approval page calls the client. Default: the id.
	Name string `json:"name,omitempty"`

	// The client's home page, an https URL. Default: none.
	URI string `json:"uri,omitempty"`

	// The client's logo on the approval page, an https URL. Default: none.
	LogoURI string `json:"logo_uri,omitempty"`

	// The client's secrets, each of them valid: during a change there are
	// two. A secret is a placeholder for the secret itself, such as
	// `{env.CLIENT_SECRET}` or `{file./run/secrets/client}`, or its SHA-256 in
	// hexadecimal behind `sha256:`. Secrets must be random, of at least 128
	// bits, because a plain SHA-256 does not protect a guessable one. A secret
	// that is written out works, and draws a warning at each start.
	Secrets []string `json:"secrets,omitempty"`

	// How the client authenticates: client_secret_basic, client_secret_post or
	// private_key_jwt. Default: client_secret_basic if the client has secrets,
	// else private_key_jwt.
	AuthMethod string `json:"auth_method,omitempty"`

	// The client's public keys as a JSON Web Key Set, for private_key_jwt.
	// Default: none.
	JWKS json.RawMessage `json:"jwks,omitempty"`

	// A file with the client's public keys as a JSON Web Key Set, instead of
	// jwks. It is read when the config is loaded. Placeholders are resolved.
	// Default: none.
	JWKSFile string `json:"jwks_file,omitempty"`

	// The scopes that the client may ask for. They must be configured, or be
	// openid. Default: openid alone.
	Scopes []string `json:"scopes,omitempty"`

	// Whether the client is locked out: it can start nothing, and what it has
	// started cannot be approved or redeemed. Default: false.
	Disabled bool `json:"disabled,omitempty"`
}

// check finds what is wrong with the client by itself, without resolving
// placeholders or reading files.
func (c *Client) check() error {
	if c.ID == "" {
		return errors.New("client has no id")
	}
	method := c.authMethod()
	hasSecrets, hasKeys := len(c.Secrets) > 0, len(c.JWKS) > 0 || c.JWKSFile != ""
	needsKeys := method == provider.AuthPrivateKeyJWT
	switch {
	case len(c.JWKS) > 0 && c.JWKSFile != "":
		return fmt.Errorf("client '%s' has both jwks and jwks_file; one is enough", c.ID)
	case !hasSecrets && !hasKeys:
		return fmt.Errorf("client '%s' has neither a secret nor a jwks; a client must be able to authenticate", c.ID)
	case !slices.Contains(authMethods, method):
		return fmt.Errorf("client '%s': auth_method '%s' is not one of %s", c.ID, method, strings.Join(authMethods, ", "))
	case needsKeys && !hasKeys:
		return fmt.Errorf("client '%s': %s requires a jwks", c.ID, method)
	case needsKeys && hasSecrets:
		return fmt.Errorf("client '%s' has a secret that %s does not use; remove one of them", c.ID, method)
	case !needsKeys && !hasSecrets:
		return fmt.Errorf("client '%s': %s requires a secret", c.ID, method)
	case !needsKeys && hasKeys:
		return fmt.Errorf("client '%s' has keys that %s does not use; remove one of them", c.ID, method)
	}
	for _, secret := range c.Secrets {
		err := checkSecret(secret)
		if err != nil {
			return fmt.Errorf("client '%s': %w", c.ID, err)
		}
	}
	for _, link := range []string{c.URI, c.LogoURI} {
		err := checkLink(link)
		if err != nil {
			return fmt.Errorf("client '%s': %w", c.ID, err)
		}
	}
	for i, scope := range c.Scopes {
		if slices.Contains(c.Scopes[:i], scope) {
			return fmt.Errorf("client '%s': scope '%s' is named twice", c.ID, scope)
		}
	}
	return nil
}

// authMethod is the configured method or its default.
func (c *Client) authMethod() string {
	switch {
	case c.AuthMethod != "":
		return c.AuthMethod
	case len(c.Secrets) > 0:
		return provider.AuthSecretBasic
	default:
		return provider.AuthPrivateKeyJWT
	}
}

// settings returns the client as the provider takes it: secrets resolved and
// hashed, keys read. The second result are warnings for the operator.
func (c *Client) settings(repl *caddy.Replacer) (provider.Client, []string, error) {
	settings := provider.Client{
		ID:         c.ID,
		Name:       c.Name,
		URI:        c.URI,
		LogoURI:    c.LogoURI,
		AuthMethod: c.authMethod(),
		Scopes:     c.Scopes,
		Disabled:   c.Disabled,
	}
	var warnings []string
	for _, secret := range c.Secrets {
		hash, warning, err := secretHash(repl, secret)
		if err != nil {
			return settings, nil, fmt.Errorf("client '%s': %w", c.ID, err)
		}
		if warning != "" {
			warnings = append(warnings, fmt.Sprintf("client '%s': %s", c.ID, warning))
		}
		settings.SecretHashes = append(settings.SecretHashes, hash)
	}
	keys, err := c.keys(repl)
	if err != nil {
		return settings, nil, fmt.Errorf("client '%s': %w", c.ID, err)
	}
	settings.JWKS = keys
	return settings, warnings, nil
}

// keys reads the client's public keys; nil if it has none. The provider checks
// them.
func (c *Client) keys(repl *caddy.Replacer) (json.RawMessage, error) {
	if c.JWKSFile == "" {
		return c.JWKS, nil
	}
	name, err := resolve(repl, "jwks", c.JWKSFile)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading jwks: %w", err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading jwks: %w", err)
	}
	if len(raw) > maxKeyFile {
		return nil, fmt.Errorf("reading jwks: %s is larger than %d bytes", name, maxKeyFile)
	}
	if !json.Valid(raw) {
		return nil, fmt.Errorf("reading jwks: %s is not a JSON Web Key Set", name)
	}
	return raw, nil
}

// checkLink takes absolute https URLs, and none.
func checkLink(link string) error {
	if link == "" {
		return nil
	}
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("'%s' must be an https URL", link)
	}
	return nil
}
