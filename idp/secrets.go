package idp

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// secretHashPrefix marks a client secret of which only the hash is configured.
const secretHashPrefix = "sha256:"

// warnLiteralSecret tells what is wrong with a secret in the config itself.
const warnLiteralSecret = "the secret is written out in the config, where the admin API and the autosaved config show it; use {env.NAME}, {file.PATH} or sha256:HASH"

// errHashedSecret refuses a hash where the secret itself is needed.
var errHashedSecret = errors.New("client_secret_jwt needs the secret itself, not its hash")

// minSecret is the length in bytes below which a client secret draws a warning.
// 22 characters of base64 carry 128 bits.
const minSecret = 22

// reference is a value that says where a secret is and is none itself.
var reference = regexp.MustCompile(`^\{(env|file)\.[^{}"]+\}$`)

// isReference reports whether a value is nothing but a placeholder for an
// environment variable or a file.
func isReference(value string) bool {
	return reference.MatchString(value)
}

// resolve replaces the placeholders of a config value that may be shown. An
// unset variable and an unreadable file are errors.
func resolve(repl *caddy.Replacer, what, value string) (string, error) {
	resolved, err := repl.ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", what, err)
	}
	return resolved, nil
}

// resolveSecret reads the secret that a reference names. A value that is no
// reference is taken as it stands, braces and all, and reported as literal.
// Errors name references only. An unset variable and an unreadable file are
// errors, for a secret that is silently empty would be worse than no provider.
func resolveSecret(repl *caddy.Replacer, what, value string) (secret string, literal bool, err error) {
	if !isReference(value) {
		return value, true, nil
	}
	secret, err = repl.ReplaceOrErr(value, true, true)
	if err != nil {
		return "", false, fmt.Errorf("%s is required, but the environment variable or file that %s stands for is missing or empty", what, value)
	}
	return secret, false, nil
}

// checkSecret finds what is wrong with a client's configured secret before it
// is resolved.
func checkSecret(secret string) error {
	if secret == "" {
		return errors.New("secret is empty")
	}
	digits, hashed := strings.CutPrefix(secret, secretHashPrefix)
	if !hashed {
		return nil
	}
	_, err := decodeSecretHash(digits)
	return err
}

// secretHash resolves a client's configured secret and returns its hash. The
// second result is a warning for the operator, or empty.
func secretHash(repl *caddy.Replacer, configured string) (provider.SecretHash, string, error) {
	secret, literal, err := resolveSecret(repl, "secret", configured)
	if err != nil {
		return provider.SecretHash{}, "", err
	}
	digits, hashed := strings.CutPrefix(secret, secretHashPrefix)
	if hashed {
		hash, err := decodeSecretHash(digits)
		return hash, "", err
	}
	var warning string
	switch {
	case literal:
		warning = warnLiteralSecret
	case len(secret) < minSecret:
		warning = "the secret is short; make one with: openssl rand -base64 32"
	}
	return provider.HashSecret(secret), warning, nil
}

func decodeSecretHash(digits string) (provider.SecretHash, error) {
	var hash provider.SecretHash
	decoded, err := hex.DecodeString(digits)
	if err != nil || len(decoded) != len(hash) {
		return hash, errors.New("a hashed secret is sha256: and 64 hexadecimal digits; make them with: printf %s \"$SECRET\" | sha256sum")
	}
	copy(hash[:], decoded)
	if hash == provider.HashSecret("") {
		return hash, errors.New("the hashed secret is the hash of nothing")
	}
	return hash, nil
}

// encryptionKey resolves a key for the signing keys in the store: 32 bytes in
// base64. Unlike a client's secret it cannot be written out.
func encryptionKey(repl *caddy.Replacer, configured string) ([]byte, error) {
	if !isReference(configured) {
		return nil, errNotReference
	}
	encoded, _, err := resolveSecret(repl, "encryption_key", configured)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) != 32 {
		return nil, errors.New("encryption_key must be 32 bytes in base64; make one with: openssl rand -base64 32")
	}
	return key, nil
}

// errNotReference refuses an encryption key in the config itself.
var errNotReference = errors.New("encryption_key must be a placeholder, {env.NAME} or {file.PATH}, and not the key itself")
