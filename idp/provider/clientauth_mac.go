package provider

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// AuthSecretJWT is authentication by an assertion with a message authentication
// code (OpenID Connect Core 1.0 section 9). The provider must know the secret for
// it, so that who reads its configuration can be the client: private_key_jwt is
// better wherever there is a choice.
const AuthSecretJWT = "client_secret_jwt"

// AssertionSecret is a secret of a client of AuthSecretJWT. It prints as dots.
type AssertionSecret string

// String implements fmt.Stringer.
func (AssertionSecret) String() string { return "[secret]" }

// GoString implements fmt.GoStringer.
func (AssertionSecret) GoString() string { return "[secret]" }

// macAlgs are the algorithms of AuthSecretJWT, with the size in bytes that a secret
// for them has at least (RFC 7518 section 3.2).
var macAlgs = []struct {
	name string
	size int
}{{string(jose.HS256), 32}, {string(jose.HS384), 48}, {string(jose.HS512), 64}}

// macAlgNames returns the names of macAlgs for which a secret of the size is long
// enough.
func macAlgNames(size int) []string {
	var names []string
	for _, alg := range macAlgs {
		if size >= alg.size {
			names = append(names, alg.name)
		}
	}
	return names
}

// allMACAlgs are all of them.
var allMACAlgs = macAlgNames(1 << 10)

func isMACAlg(alg string) bool { return slices.Contains(allMACAlgs, alg) }

// compileAssertionSecrets checks the secrets of a client of AuthSecretJWT.
func (c *client) compileAssertionSecrets() error {
	if c.AuthSigningAlg != "" && !isMACAlg(c.AuthSigningAlg) {
		return fmt.Errorf("%s is not an algorithm of %s", c.AuthSigningAlg, AuthSecretJWT)
	}
	if len(c.AssertionSecrets) == 0 {
		return errors.New("an assertion secret is required for " + AuthSecretJWT)
	}
	for _, secret := range c.AssertionSecrets {
		algs := macAlgNames(len(secret))
		if len(algs) == 0 || c.AuthSigningAlg != "" && !slices.Contains(algs, c.AuthSigningAlg) {
			return errors.New("an assertion secret is too short for its algorithm: HS256 takes 32 bytes, HS384 48 and HS512 64")
		}
	}
	c.AssertionSecrets = slices.Clone(c.AssertionSecrets)
	return nil
}

// verifyMAC checks the authentication code of an assertion. A secret serves this
// purpose only if it is configured for it, and public keys are never secrets
// (threats B12).
func (c *client) verifyMAC(jwt *parsedJWT) error {
	if !isMACAlg(jwt.header.Alg) || c.AuthSigningAlg != "" && jwt.header.Alg != c.AuthSigningAlg {
		return errors.New("JWT algorithm is not allowed")
	}
	jws, err := jose.ParseSignedCompact(jwt.compact, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(jwt.header.Alg)})
	if err != nil {
		return fmt.Errorf("parsing JWT: %w", err)
	}
	for _, secret := range c.AssertionSecrets {
		_, err = jws.Verify([]byte(secret)) // in constant time; refuses secrets that are too short for the algorithm
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("verifying JWT: %w", err)
}
