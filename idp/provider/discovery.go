package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Paths of the endpoints, below the path of the issuer.
const (
	pathDiscovery   = "/.well-known/openid-configuration"
	pathJWKS        = "/jwks"
	pathBackchannel = "/backchannel-authentication"
	pathAuthorize   = "/authorize"
	pathToken       = "/token"
	pathIntrospect  = "/introspect"
	pathRevoke      = "/revoke"
	pathUserinfo    = "/userinfo"
)

// metadata is the discovery document (OpenID Connect Discovery 1.0 section 3;
// CIBA Core 1.0 section 4). It tells of nothing that is not implemented.
type metadata struct {
	Issuer              string   `json:"issuer"`
	JWKSURI             string   `json:"jwks_uri"`
	AuthorizeEndpoint   string   `json:"authorization_endpoint"`
	TokenEndpoint       string   `json:"token_endpoint"`
	BackchannelEndpoint string   `json:"backchannel_authentication_endpoint"`
	IntrospectEndpoint  string   `json:"introspection_endpoint"`
	RevokeEndpoint      string   `json:"revocation_endpoint"`
	IntrospectMethods   []string `json:"introspection_endpoint_auth_methods_supported"`
	RevokeMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	UserinfoEndpoint    string   `json:"userinfo_endpoint"`
	DeliveryModes       []string `json:"backchannel_token_delivery_modes_supported"`
	HintTokenTypes      []string `json:"backchannel_endpoint_login_hint_token_types_supported,omitempty"`
	RequestAlgs         []string `json:"backchannel_authentication_request_signing_alg_values_supported"`
	UserCode            bool     `json:"backchannel_user_code_parameter_supported"`
	MatchCode           bool     `json:"match_code_parameter_supported,omitempty"`
	GrantTypes          []string `json:"grant_types_supported"`
	ResponseTypes       []string `json:"response_types_supported"`
	SubjectTypes        []string `json:"subject_types_supported"`
	Scopes              []string `json:"scopes_supported"`
	Claims              []string `json:"claims_supported"`
	DetailsTypes        []string `json:"authorization_details_types_supported"`
	DPoPAlgs            []string `json:"dpop_signing_alg_values_supported"`
	CertificateBound    bool     `json:"tls_client_certificate_bound_access_tokens"`
	MTLSAliases         *aliases `json:"mtls_endpoint_aliases,omitempty"`
	ACRValues           []string `json:"acr_values_supported,omitempty"`
	IDTokenAlgs         []string `json:"id_token_signing_alg_values_supported"`
	AuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs            []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RequestParameter    bool     `json:"request_parameter_supported"`
	RequestURIParameter bool     `json:"request_uri_parameter_supported"`
	ClaimsParameter     bool     `json:"claims_parameter_supported"`
}

// aliases are the endpoints for clients with certificates (RFC 8705 section 5).
type aliases struct {
	TokenEndpoint       string `json:"token_endpoint"`
	BackchannelEndpoint string `json:"backchannel_authentication_endpoint"`
	IntrospectEndpoint  string `json:"introspection_endpoint"`
	RevokeEndpoint      string `json:"revocation_endpoint"`
	UserinfoEndpoint    string `json:"userinfo_endpoint"`
}

// compileDiscovery builds the discovery document once: it depends on the
// configuration alone.
func (p *Provider) compileDiscovery() ([]byte, error) {
	authMethods := p.authMethods()
	m := metadata{
		Issuer:              p.cfg.Issuer,
		JWKSURI:             p.url(pathJWKS),
		AuthorizeEndpoint:   p.url(pathAuthorize),
		TokenEndpoint:       p.url(pathToken),
		BackchannelEndpoint: p.url(pathBackchannel),
		UserinfoEndpoint:    p.url(pathUserinfo),
		DPoPAlgs:            p.clientAlgs(),
		CertificateBound:    p.offersTLS(),
		RequestAlgs:         p.clientAlgs(),
		UserCode:            p.usesUserCodes(),
		MatchCode:           !p.cfg.NoMatchCode,
		DeliveryModes:       p.deliveryModes(),
		GrantTypes:          []string{GrantCIBA, GrantRefresh},
		ResponseTypes:       []string{}, // the authorization endpoint refuses them all
		SubjectTypes:        []string{"public"},
		ACRValues:           p.cfg.ACRValues,
		IDTokenAlgs:         p.signingAlgs,
		AuthMethods:         authMethods,
		IntrospectMethods:   authMethods,
		RevokeMethods:       authMethods,
		IntrospectEndpoint:  p.url(pathIntrospect),
		RevokeEndpoint:      p.url(pathRevoke),
		AuthAlgs:            p.assertionAlgs(),
		Claims:              []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr"},
	}
	if p.cfg.MTLSBaseURL != "" {
		m.MTLSAliases = &aliases{
			TokenEndpoint:       p.cfg.MTLSBaseURL + pathToken,
			BackchannelEndpoint: p.cfg.MTLSBaseURL + pathBackchannel,
			IntrospectEndpoint:  p.cfg.MTLSBaseURL + pathIntrospect,
			RevokeEndpoint:      p.cfg.MTLSBaseURL + pathRevoke,
			UserinfoEndpoint:    p.cfg.MTLSBaseURL + pathUserinfo,
		}
	}
	if len(p.hintIssuers) > 0 {
		m.HintTokenTypes = []string{"urn:ietf:params:oauth:token-type:jwt"}
	}
	for name, s := range p.scopes {
		m.Scopes = append(m.Scopes, name)
		for _, claim := range s.Claims {
			if !slices.Contains(m.Claims, claim) {
				m.Claims = append(m.Claims, claim)
			}
		}
	}
	m.DetailsTypes = slices.Sorted(maps.Keys(p.detailsTypes))
	slices.Sort(m.Scopes)
	slices.Sort(m.Claims)
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding discovery document: %w", err)
	}
	return data, nil
}

// authMethods returns the authentication methods that a client of this provider can
// have.
func (p *Provider) authMethods() []string {
	methods := []string{AuthPrivateKeyJWT}
	if p.cfg.Profile != ProfileFAPICIBA {
		methods = []string{AuthSecretBasic, AuthSecretPost, AuthPrivateKeyJWT}
	}
	if p.usesSecretJWT() {
		methods = append(methods, AuthSecretJWT)
	}
	if p.offersTLS() && p.cfg.verifiesChains() {
		methods = append(methods, AuthTLS)
	}
	if p.offersTLS() {
		methods = append(methods, AuthSelfSignedTLS)
	}
	return methods
}

// clientAlgs returns the algorithms that clients may sign with.
func (p *Provider) clientAlgs() []string {
	if p.cfg.Profile == ProfileFAPICIBA {
		return fapiAlgs
	}
	return signingAlgs
}

// usesSecretJWT reports whether there is a client whose secret is known.
func (p *Provider) usesSecretJWT() bool {
	for _, c := range p.clients {
		if c.AuthMethod == AuthSecretJWT {
			return true
		}
	}
	return false
}

// assertionAlgs returns the algorithms of client assertions.
func (p *Provider) assertionAlgs() []string {
	if p.usesSecretJWT() {
		return slices.Concat(p.clientAlgs(), allMACAlgs)
	}
	return p.clientAlgs()
}

func (p *Provider) serveDiscovery(w http.ResponseWriter, _ *http.Request) error {
	servePublic(w, p.discovery)
	return nil
}
