package caddyciba

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// Where the client of an issuer that no named provider describes comes from.
const (
	defaultClientID     = "{env.CIBA_CLIENT_ID}"
	defaultClientSecret = "{env.CIBA_CLIENT_SECRET}"
)

// Provider is an OpenID Provider with CIBA and the client as which the gateway
// is registered there.
type Provider struct {
	// Issuer is the provider's issuer URL, exactly as its discovery document
	// and its ID Tokens give it. It is an https URL; http is accepted for
	// loopback hosts only. It cannot contain placeholders, user information, a
	// query or a fragment. Required.
	Issuer string `json:"issuer,omitempty"`

	// ClientID is the client identifier that the gateway was registered with.
	// Placeholders are resolved when the configuration is loaded. Default:
	// `{env.CIBA_CLIENT_ID}`.
	ClientID string `json:"client_id,omitempty"`

	// ClientAuth is how the gateway proves that it is this client:
	// `client_secret_basic`, `client_secret_post` or `client_secret_jwt` with the
	// client secret, `private_key_jwt` with the client key, `tls_client_auth` or
	// `self_signed_tls_client_auth` with the client certificate. Default:
	// `private_key_jwt` if there is a client key, `tls_client_auth` if there is a
	// client certificate and no secret, otherwise `client_secret_basic`.
	ClientAuth string `json:"client_auth,omitempty"`

	// ClientSecret authenticates the gateway by a secret that the provider knows,
	// too. It should be a placeholder, `{env.…}` or `{file.…}`, which is resolved
	// when the configuration is loaded; a secret written out here can be read by
	// everybody who can read the configuration and is warned about. Default:
	// `{env.CIBA_CLIENT_SECRET}`, unless there is a client key or certificate.
	ClientSecret string `json:"client_secret,omitempty"`

	// ClientKey authenticates the gateway by private_key_jwt. It is a
	// placeholder, `{file.…}` or `{env.…}`, for a private key: a JSON Web Key
	// whose `alg` names the signature algorithm, or PEM. It excludes a client
	// secret.
	ClientKey string `json:"client_key,omitempty"`

	// ClientCert is the path of a PEM file with the certificate that the gateway
	// presents to the provider, followed by intermediate ones. It is read again
	// when it has changed. Placeholders are resolved when the configuration is
	// loaded. Default: no certificate is presented.
	ClientCert string `json:"client_cert,omitempty"`

	// ClientCertKey is the path of a PEM file with the private key of the client
	// certificate. Required with a client certificate.
	ClientCertKey string `json:"client_cert_key,omitempty"`

	// SenderConstraint says to what the provider binds access tokens: `mtls` for
	// the client certificate, `dpop` for a key of the gateway's (RFC 9449). With
	// `mtls`, token requests go to the provider's endpoint for certificates, however
	// the client authenticates. With `dpop`, they carry a proof, and so does each
	// request to the upstream, which gets the token in `Authorization` behind the
	// word `DPoP`. Default: nothing that the gateway has to know of.
	SenderConstraint string `json:"sender_constraint,omitempty"`

	// DPoPKey is the private key of `dpop`, as a placeholder like the client key.
	// Default: an ES256 key that is made when it is first needed and kept in the
	// store, encrypted as kept requests are, for all nodes that share the store; `caddy
	// ciba rotate-dpop-key` replaces it.
	DPoPKey string `json:"dpop_key,omitempty"`

	// AllowBearer takes access tokens that the provider has not bound to the key in
	// spite of `dpop`, and passes them on as bearer tokens. Default: false; such a
	// token is given back and the request is refused.
	AllowBearer bool `json:"allow_bearer,omitempty"`

	// SignedRequests is the algorithm by which the gateway signs authentication
	// requests, such as `ES256` or `PS256`. Default: requests are not signed.
	SignedRequests string `json:"signed_requests,omitempty"`

	// RequestKey is the key that signs authentication requests, as a placeholder
	// like the client key. Default: the client key.
	RequestKey string `json:"request_key,omitempty"`

	// TrustPoolRaw is where the certificate authorities come from that may vouch
	// for the provider. Default: those of the system.
	TrustPoolRaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// Delivery is how the provider tells the gateway of a decision, as the client
	// is registered there: `poll`, `ping` or `push`. For `ping` and `push`, a site
	// needs the handler `ciba_notify`, at an address that the provider has been
	// told. Default: `poll`.
	Delivery string `json:"delivery,omitempty"`

	// LongPoll is how long the provider is asked to hold the answer to a poll, so
	// that it comes with the decision. A provider that does not know of it answers
	// at once. A negative value does not ask. Default: 25s with `delivery` `poll`,
	// otherwise it is not asked. Maximum: 30s.
	LongPoll caddy.Duration `json:"long_poll,omitempty"`

	// ClockSkew is how far the provider's clock may differ from ours. A negative
	// value is none. Default: 10s. Maximum: 5m.
	ClockSkew caddy.Duration `json:"clock_skew,omitempty"`

	// IDTokenAlgs are the algorithms by which ID Tokens may be signed. Default:
	// ES256, PS256, EdDSA and RS256; with the profile `fapi_ciba`, ES256 and PS256.
	IDTokenAlgs []string `json:"id_token_algs,omitempty"`

	// Parameters are added to each authentication request, for providers that
	// want more than the standard does. Placeholders are resolved when the
	// configuration is loaded. Parameters of the standard cannot be set here.
	// Default: none.
	Parameters map[string]string `json:"parameters,omitempty"`

	// BindingMessageMax is how many characters the provider takes for a binding
	// message. A message that is longer is refused; the part of the digest is left
	// out where it does not fit. Default: 128. Maximum: 1024.
	BindingMessageMax int `json:"binding_message_max,omitempty"`

	// BindingMessageJoiner stands between the message and the part of the digest,
	// and behind a matching number in front of it, for providers that take no
	// spaces, such as Keycloak: `-`, `_`, `.` or `/`. Default: a space.
	BindingMessageJoiner string `json:"binding_message_joiner,omitempty"`

	// Profile is `fapi_ciba` for a client that has to follow the OpenID
	// Foundation's Financial-grade API: CIBA Profile. Settings that it does not
	// allow are then refused. Default: none.
	Profile string `json:"profile,omitempty"`

	// pool is the trust pool, once it is provisioned; poolHash tells one from
	// another.
	pool     *x509.CertPool
	poolHash string
}

// withDefaults fills in the client that the environment describes.
func (p Provider) withDefaults() Provider {
	if p.ClientID == "" {
		p.ClientID = defaultClientID
	}
	switch p.method() {
	case authBasic, authPost, authSecretJWT:
		if p.ClientSecret == "" {
			p.ClientSecret = defaultClientSecret
		}
	}
	if p.LongPoll == 0 && cmp.Or(p.Delivery, string(ciba.DeliveryPoll)) == string(ciba.DeliveryPoll) {
		p.LongPoll = caddy.Duration(defaultLongPoll)
	}
	if p.Profile == profileFAPI && p.IDTokenAlgs == nil {
		p.IDTokenAlgs = fapiAlgs
	}
	return p
}

// provision loads the trust pool.
func (p *Provider) provision(ctx caddy.Context) error {
	if p.TrustPoolRaw == nil {
		return nil
	}
	raw := slices.Clone(p.TrustPoolRaw)
	module, err := ctx.LoadModule(p, "TrustPoolRaw")
	if err != nil {
		return fmt.Errorf("loading trust_pool: %w", err)
	}
	source, ok := module.(caddytls.CA)
	if !ok {
		return fmt.Errorf("loading trust_pool: %T is not a source of certificates", module)
	}
	p.pool = source.CertPool()
	if p.pool == nil || p.pool.Equal(x509.NewCertPool()) {
		return errors.New("trust_pool has no certificate, so that no provider could be trusted")
	}
	h := sha256.New()
	_, _ = h.Write(raw)
	if listed, ok := module.(caddytls.CertificateProvider); ok {
		for _, certificate := range listed.Certificates() {
			_, _ = h.Write(certificate.Raw)
		}
	}
	p.poolHash = hex.EncodeToString(h.Sum(nil))
	return nil
}
