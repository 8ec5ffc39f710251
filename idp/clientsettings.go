package idp

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/provider"
)

// settings returns the client as the provider takes it: secrets resolved and
// hashed, keys read. The second result are warnings for the operator.
func (c *Client) settings(repl *caddy.Replacer) (provider.Client, []string, error) {
	settings := provider.Client{
		ID:                    c.ID,
		Name:                  c.Name,
		URI:                   c.URI,
		LogoURI:               c.LogoURI,
		AuthMethod:            c.authMethod(),
		AuthSigningAlg:        c.AuthSigningAlg,
		JWKSURI:               c.JWKSURI,
		Scopes:                c.Scopes,
		DetailsTypes:          c.Details,
		DeliveryMode:          c.Delivery,
		NotificationEndpoint:  c.NotificationEndpoint,
		LongPoll:              c.LongPoll,
		RequestLifetime:       time.Duration(c.RequestLifetime),
		Interval:              time.Duration(c.Interval),
		UserCode:              c.UserCode,
		SessionApproval:       c.SessionApproval,
		RequireSignedRequests: c.signsRequests(),
		RequestSigningAlg:     c.RequestSigningAlg,
		IDTokenSigningAlg:     c.IDTokenSigningAlg,
		DPoPBound:             slices.Contains(c.SenderConstraints, constraintDPoP),
		CertificateBound:      slices.Contains(c.SenderConstraints, constraintMTLS),
		Profile:               c.Profile,
		Resource:              c.Resource,
		Disabled:              c.Disabled,
	}
	if c.Certificate != nil {
		settings.CertificateSubject = c.Certificate.settings()
	}
	if c.Refresh {
		settings.GrantTypes = []string{provider.GrantCIBA, provider.GrantRefresh}
	}
	warnings, err := c.readSecrets(repl, &settings)
	if err != nil {
		return settings, nil, fmt.Errorf("client '%s': %w", c.ID, err)
	}
	settings.Logo, err = c.readLogo(repl)
	if err != nil {
		return settings, nil, fmt.Errorf("client '%s': %w", c.ID, err)
	}
	settings.JWKS, err = readKeys(repl, c.JWKS, c.JWKSFile)
	if err != nil {
		return settings, nil, fmt.Errorf("client '%s': %w", c.ID, err)
	}
	return settings, warnings, nil
}

// readLogo reads the client's logo; nil if it is not in a file.
func (c *Client) readLogo(repl *caddy.Replacer) ([]byte, error) {
	if c.LogoFile == "" {
		return nil, nil
	}
	name, raw, err := readFile(repl, "logo", c.LogoFile)
	if err != nil {
		return nil, err
	}
	err = approval.CheckLogo(raw)
	if err != nil {
		return nil, fmt.Errorf("reading logo: %s: %w", name, err)
	}
	return raw, nil
}

// readSecrets resolves the client's secrets: to their hashes, which are enough
// where the client sends its secret, or to themselves where it does not. The first
// result are warnings for the operator.
func (c *Client) readSecrets(repl *caddy.Replacer, settings *provider.Client) ([]string, error) {
	var warnings []string
	for _, configured := range c.Secrets {
		warning := ""
		if settings.AuthMethod == provider.AuthSecretJWT {
			secret, literal, err := resolveSecret(repl, "secret", configured)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(secret, secretHashPrefix) {
				return nil, errHashedSecret
			}
			if literal {
				warning = warnLiteralSecret
			}
			settings.AssertionSecrets = append(settings.AssertionSecrets, provider.AssertionSecret(secret))
		} else {
			hash, weakness, err := secretHash(repl, configured)
			if err != nil {
				return nil, err
			}
			warning = weakness
			settings.SecretHashes = append(settings.SecretHashes, hash)
		}
		if warning != "" {
			warnings = append(warnings, fmt.Sprintf("client '%s': %s", c.ID, warning))
		}
	}
	return warnings, nil
}
