package caddyciba

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/caddyserver/caddy/v2"
)

// onePlaceholder is a value that is nothing but a placeholder of Caddy's, such
// as {env.CIBA_CLIENT_SECRET} or {file./run/secrets/ciba}.
var onePlaceholder = regexp.MustCompile(`^\{(env|file)\.[^{}"]+\}$`)

// isReference reports whether a secret's configured value only says where the
// secret is, so that it may be shown.
func isReference(value string) bool {
	return onePlaceholder.MatchString(value)
}

// resolve replaces the placeholders in a setting that may be shown. A
// placeholder that is unknown or empty is an error.
func resolve(name, value string) (string, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", name, err)
	}
	if resolved == "" {
		return "", fmt.Errorf("resolving %s: %w", name, errors.New("it is empty"))
	}
	return resolved, nil
}

// resolveSecret is resolve for a setting that must not be shown: errors name
// the value only where it is a mere reference. The second result reports a
// value that stands in the configuration itself, where everybody who reads the
// configuration can read it. Such a value is taken as it is, braces and all.
func resolveSecret(name, value string) (secret string, literal bool, err error) {
	if !isReference(value) {
		return value, true, nil
	}
	secret, err = caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", false, fmt.Errorf("resolving %s %s: the variable or file is missing or empty", name, value)
	}
	return secret, false, nil
}
