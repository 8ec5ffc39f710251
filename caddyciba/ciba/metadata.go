package ciba

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Metadata is what a provider publishes about itself (OpenID Connect Discovery
// 1.0 section 3, CIBA Core section 4). It is shared: do not change it.
type Metadata struct {
	// Issuer equals Config.Issuer.
	Issuer string

	// BackchannelAuthenticationEndpoint takes requests for approval.
	BackchannelAuthenticationEndpoint string

	// TokenEndpoint is polled.
	TokenEndpoint string

	// JWKSURI is where the keys are that sign ID Tokens.
	JWKSURI string

	// RevocationEndpoint withdraws tokens (RFC 7009). Empty if there is none.
	RevocationEndpoint string

	// UserinfoEndpoint answers with claims. Empty if there is none.
	UserinfoEndpoint string

	// MTLS holds the endpoints that ask for a client certificate (RFC 8705
	// section 5). Its fields are empty where the plain endpoint serves.
	MTLS MTLSEndpoints

	// DeliveryModes lists "poll", "ping", "push".
	DeliveryModes []string

	// RequestSigningAlgs lists the algorithms for signed requests. Empty means
	// that the provider takes none.
	RequestSigningAlgs []string

	// DPoPSigningAlgs lists the algorithms for DPoP proofs (RFC 9449 section 5.1).
	// Nil means that the provider does not publish the list.
	DPoPSigningAlgs []string

	// UserCodeSupported says whether user_code may be sent.
	UserCodeSupported bool

	// MatchCodeSupported says whether the extension parameter match_code may be
	// sent (match_code_parameter_supported).
	MatchCodeSupported bool

	// AuthorizationDetailsTypes lists the types of authorization_details that the
	// provider knows (RFC 9396 section 10). Empty means that it knows none.
	AuthorizationDetailsTypes []string

	// GrantTypes, AuthMethods, IDTokenSigningAlgs, Scopes and ACRValues are the
	// lists of the same meaning in OpenID Connect Discovery. Nil means that the
	// provider does not publish the list.
	GrantTypes         []string
	AuthMethods        []string
	IDTokenSigningAlgs []string
	Scopes             []string
	ACRValues          []string

	// Raw is the whole document, for extensions.
	Raw json.RawMessage
}

// MTLSEndpoints are the members of mtls_endpoint_aliases that a CIBA client uses.
type MTLSEndpoints struct {
	// BackchannelAuthenticationEndpoint replaces the one of the same name.
	BackchannelAuthenticationEndpoint string

	// TokenEndpoint replaces the one of the same name.
	TokenEndpoint string

	// RevocationEndpoint replaces the one of the same name.
	RevocationEndpoint string
}

// SupportsDetails reports whether the provider publishes the authorization
// details type.
func (m *Metadata) SupportsDetails(kind string) bool {
	return slices.Contains(m.AuthorizationDetailsTypes, kind)
}

// signsWith reports whether the provider may sign ID Tokens by alg.
func (m *Metadata) signsWith(alg string) bool {
	return m.IDTokenSigningAlgs == nil || slices.Contains(m.IDTokenSigningAlgs, alg)
}

// parseMetadata reads and judges a discovery document. The document must be
// about the very issuer that was configured: otherwise one provider could put
// its endpoints under another's name.
func parseMetadata(issuer string, body []byte) (*Metadata, error) {
	o, err := parseObject(body)
	if err != nil {
		return nil, fmt.Errorf("reading document: %w", err)
	}
	m := &Metadata{Raw: slices.Clone(body)}
	m.Issuer, err = o.text("issuer")
	if err != nil {
		return nil, err
	}
	if m.Issuer != issuer {
		return nil, errors.New("document is about another issuer")
	}
	r := metadataReader{plain: strings.HasPrefix(issuer, "http:")}
	m.BackchannelAuthenticationEndpoint = r.endpoint(o, "backchannel_authentication_endpoint", true)
	m.TokenEndpoint = r.endpoint(o, "token_endpoint", true)
	m.JWKSURI = r.endpoint(o, "jwks_uri", true)
	m.RevocationEndpoint = r.endpoint(o, "revocation_endpoint", false)
	m.UserinfoEndpoint = r.endpoint(o, "userinfo_endpoint", false)
	m.DeliveryModes = r.list(o, "backchannel_token_delivery_modes_supported")
	m.RequestSigningAlgs = r.list(o, "backchannel_authentication_request_signing_alg_values_supported")
	m.DPoPSigningAlgs = r.list(o, "dpop_signing_alg_values_supported")
	m.UserCodeSupported = r.flag(o, "backchannel_user_code_parameter_supported")
	m.MatchCodeSupported = r.flag(o, "match_code_parameter_supported")
	m.AuthorizationDetailsTypes = r.list(o, "authorization_details_types_supported")
	m.GrantTypes = r.list(o, "grant_types_supported")
	m.AuthMethods = r.list(o, "token_endpoint_auth_methods_supported")
	m.IDTokenSigningAlgs = r.list(o, "id_token_signing_alg_values_supported")
	m.Scopes = r.list(o, "scopes_supported")
	m.ACRValues = r.list(o, "acr_values_supported")
	if o.has("mtls_endpoint_aliases") {
		aliases, err := parseObject(o["mtls_endpoint_aliases"])
		if err != nil {
			return nil, fmt.Errorf("mtls_endpoint_aliases: %w", err)
		}
		m.MTLS = MTLSEndpoints{
			BackchannelAuthenticationEndpoint: r.endpoint(aliases, "backchannel_authentication_endpoint", false),
			TokenEndpoint:                     r.endpoint(aliases, "token_endpoint", false),
			RevocationEndpoint:                r.endpoint(aliases, "revocation_endpoint", false),
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// metadataReader keeps the first error, so that the list of members above stays
// a list.
type metadataReader struct {
	plain bool // http endpoints may be taken
	err   error
}

func (r *metadataReader) endpoint(o object, name string, required bool) string {
	value, err := o.text(name)
	if err != nil {
		r.fail(err)
		return ""
	}
	if value == "" {
		if required {
			r.fail(fmt.Errorf("%s is missing", name))
		}
		return ""
	}
	_, err = parseEndpoint(value, r.plain)
	if err != nil {
		r.fail(fmt.Errorf("%s: %w", name, err))
		return ""
	}
	return value
}

func (r *metadataReader) list(o object, name string) []string {
	values, err := o.texts(name)
	r.fail(err)
	return values
}

func (r *metadataReader) flag(o object, name string) bool {
	value, err := o.flag(name)
	r.fail(err)
	return value
}

func (r *metadataReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// parseIssuer judges an issuer identifier.
func parseIssuer(issuer string) (*url.URL, error) {
	u, err := parseEndpoint(issuer, true)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return nil, errors.New("query is not allowed")
	}
	return u, nil
}

// parseEndpoint judges a URL that requests will be sent to. It is https; where
// plain is set, http will do if the host is a loopback one. A provider that is
// itself reached over https cannot point us at a plain service on this machine.
func parseEndpoint(endpoint string, plain bool) (*url.URL, error) {
	if strings.ContainsFunc(endpoint, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return nil, errors.New("characters that do not belong in a URL")
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		// The text of a *url.Error quotes the whole input.
		return nil, errors.New("not a URL")
	}
	switch {
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("not an absolute URL")
	case u.User != nil:
		return nil, errors.New("user information is not allowed")
	case strings.Contains(endpoint, "#"):
		return nil, errors.New("fragment is not allowed")
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http" && plain && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("https is required (http is taken for loopback hosts only)")
}

// isLoopback reports whether host names this machine without asking a name
// server, which could answer anything.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	return addr.Unmap().IsLoopback()
}

// wellKnown is where the discovery document of an issuer is. A trailing slash
// of the issuer is taken off for this path only (OpenID Connect Discovery 1.0
// section 4.1).
func wellKnown(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}
