package suite

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// metadata is the discovery document as far as the flow needs it.
type metadata struct {
	raw map[string]any

	Issuer       string            `json:"issuer"`
	JWKSURI      string            `json:"jwks_uri"`
	Token        string            `json:"token_endpoint"`
	Backchannel  string            `json:"backchannel_authentication_endpoint"`
	Authorize    string            `json:"authorization_endpoint"`
	Userinfo     string            `json:"userinfo_endpoint"`
	Registration string            `json:"registration_endpoint"`
	GrantTypes   []string          `json:"grant_types_supported"`
	ACRValues    []string          `json:"acr_values_supported"`
	Modes        []string          `json:"backchannel_token_delivery_modes_supported"`
	AuthMethods  []string          `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs     []string          `json:"token_endpoint_auth_signing_alg_values_supported"`
	RequestAlgs  []string          `json:"backchannel_authentication_request_signing_alg_values_supported"`
	IDTokenAlgs  []string          `json:"id_token_signing_alg_values_supported"`
	UserinfoAlgs []string          `json:"userinfo_signing_alg_values_supported"`
	BoundTokens  bool              `json:"tls_client_certificate_bound_access_tokens"`
	Aliases      map[string]string `json:"mtls_endpoint_aliases"`
}

// discover reads the discovery document, as each module does at its beginning.
func (r *run) discover() {
	r.Helper()
	a := r.get(r.first.bare, r.Config.Server.DiscoveryURL)
	a.ok()
	err := json.Unmarshal(a.body, &r.server)
	if err != nil {
		r.Fatalf("reading discovery document: %v", err)
	}
	r.server.raw = a.json
	if len(r.server.ACRValues) > 0 && !slices.Contains(r.server.ACRValues, r.Config.Client2.ACRValue) {
		r.Fatalf("the provider has acr_values_supported, and the second client does not name one of them")
	}
}

// alias returns the endpoint for connections with a client certificate (RFC 8705
// section 5).
func (r *run) alias(name, plain string) string {
	alias, ok := r.server.Aliases[name]
	if ok {
		return alias
	}
	return plain
}

// tokenEndpoint is where tokens are asked for: all tokens are bound to the
// client's certificate, whatever the client authenticates with.
func (r *run) tokenEndpoint() string { return r.alias("token_endpoint", r.server.Token) }

// serverKeys reads the provider's keys, and checks that there are no private
// ones, none without id and none that are weak.
func (r *run) serverKeys() jose.JSONWebKeySet {
	r.Helper()
	a := r.get(r.first.bare, r.server.JWKSURI)
	a.ok()
	var set jose.JSONWebKeySet
	err := json.Unmarshal(a.body, &set)
	if err != nil {
		r.Fatalf("reading JWKS: %v", err)
	}
	if len(set.Keys) == 0 {
		r.Fatal("JWKS is empty")
	}
	for _, key := range set.Keys {
		if !key.IsPublic() || !key.Valid() || key.KeyID == "" {
			r.Fatalf("JWKS has a key that is private, or malformed, or without kid: %s", key.KeyID)
		}
		checkStrength(r, key.Key)
	}
	return set
}

// knownMetadata are the names that the suite knows (RFC 8414 and what registers
// with it), as far as a provider like ours can have them.
const knownMetadata = `
issuer authorization_endpoint token_endpoint userinfo_endpoint jwks_uri registration_endpoint
backchannel_authentication_endpoint introspection_endpoint revocation_endpoint end_session_endpoint
mtls_endpoint_aliases scopes_supported response_types_supported response_modes_supported
grant_types_supported acr_values_supported subject_types_supported claims_supported claim_types_supported
claims_parameter_supported request_parameter_supported request_uri_parameter_supported
id_token_signing_alg_values_supported userinfo_signing_alg_values_supported
request_object_signing_alg_values_supported dpop_signing_alg_values_supported
token_endpoint_auth_methods_supported token_endpoint_auth_signing_alg_values_supported
introspection_endpoint_auth_methods_supported introspection_endpoint_auth_signing_alg_values_supported
revocation_endpoint_auth_methods_supported revocation_endpoint_auth_signing_alg_values_supported
backchannel_token_delivery_modes_supported backchannel_user_code_parameter_supported
backchannel_authentication_request_signing_alg_values_supported
tls_client_certificate_bound_access_tokens authorization_details_types_supported
ui_locales_supported claims_locales_supported service_documentation op_policy_uri op_tos_uri
require_signed_request_object code_challenge_methods_supported`

// verifyDiscovery is the module fapi-ciba-id1-discovery-end-point-verification.
func verifyDiscovery(r *run) {
	known := strings.Fields(knownMetadata)
	for name, value := range r.server.raw {
		if !slices.Contains(known, name) {
			r.Errorf("the suite warns of the metadata %s", name)
		}
		checkMetadataType(r, name, value)
	}
	s := r.server
	if s.Issuer+"/.well-known/openid-configuration" != r.Config.Server.DiscoveryURL {
		r.Errorf("issuer %q does not belong to the discovery URL", s.Issuer)
	}
	for name, address := range map[string]string{
		"issuer": s.Issuer, "jwks_uri": s.JWKSURI, "token_endpoint": s.Token,
		"backchannel_authentication_endpoint": s.Backchannel, "authorization_endpoint": s.Authorize,
	} {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			r.Errorf("%s is %q", name, address)
		}
	}
	assertions, byCA := slices.Contains(s.AuthMethods, AuthPrivateKeyJWT), slices.Contains(s.AuthMethods, "tls_client_auth")
	method := assertions
	if r.mtls() {
		method = byCA || slices.Contains(s.AuthMethods, "self_signed_tls_client_auth")
	}
	for name, contains := range map[string]bool{
		"tls_client_certificate_bound_access_tokens":       s.BoundTokens,
		"grant_types_supported":                            slices.Contains(s.GrantTypes, grantCIBA),
		"token_endpoint_auth_methods_supported":            method && (assertions || byCA),
		"backchannel_token_delivery_modes_supported":       slices.Contains(s.Modes, r.Variant.Mode),
		"token_endpoint_auth_signing_alg_values_supported": hasStrongAlg(s.AuthAlgs),
		"id_token_signing_alg_values_supported":            hasStrongAlg(s.IDTokenAlgs),
		"userinfo_signing_alg_values_supported":            s.UserinfoAlgs == nil || hasStrongAlg(s.UserinfoAlgs),

		"backchannel_authentication_request_signing_alg_values_supported": hasStrongAlg(s.RequestAlgs),
	} {
		if !contains {
			r.Errorf("%s lacks what is needed", name)
		}
	}
	for name, alias := range s.Aliases {
		_, top := s.raw[name]
		if !strings.HasSuffix(name, "_endpoint") || name == "authorization_endpoint" || !top {
			r.Errorf("mtls_endpoint_aliases has %s", name)
		}
		if !strings.HasPrefix(alias, "https://") {
			r.Errorf("mtls_endpoint_aliases: %s is %q", name, alias)
		}
	}
	// CIBA has no authorization endpoint, but the suite expects one to be there.
	a := r.get(r.first.bare, s.Authorize)
	if a.status != http.StatusBadRequest && a.status != http.StatusMethodNotAllowed {
		r.Errorf("authorization endpoint answers %d", a.status)
	}
	r.serverKeys()
}

// checkMetadataType checks that a value is of the type that its name tells.
func checkMetadataType(r *run, name string, value any) {
	switch v := value.(type) {
	case bool:
		if !strings.HasSuffix(name, "_supported") && name != "tls_client_certificate_bound_access_tokens" && name != "require_signed_request_object" {
			r.Errorf("%s is a boolean", name)
		}
	case string:
		if v == "" {
			r.Errorf("%s is empty", name)
		}
	case []any:
		for _, item := range v {
			_, ok := item.(string)
			if !ok {
				r.Errorf("%s has an item that is not a string", name)
			}
		}
	case map[string]any:
		if name != "mtls_endpoint_aliases" {
			r.Errorf("%s is an object", name)
		}
	default:
		r.Errorf("%s is a %T", name, value)
	}
}

// hasStrongAlg reports whether one of the two algorithms that FAPI allows is there.
func hasStrongAlg(algs []string) bool {
	return slices.Contains(algs, "PS256") || slices.Contains(algs, "ES256")
}
