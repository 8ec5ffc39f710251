package suite

import (
	"crypto/tls"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Config is a configuration as the suite reads it, of one variant for a static
// client. The provider under test is told the public half of it.
type Config struct {
	// Alias names the configuration. It is a part of the notification endpoint.
	Alias       string `json:"alias"`
	Description string `json:"description,omitempty"`

	Server   ServerConfig   `json:"server"`
	Client   ClientConfig   `json:"client"`
	Client2  ClientConfig   `json:"client2"`
	MTLS     Certificate    `json:"mtls"`
	MTLS2    Certificate    `json:"mtls2"`
	Resource ResourceConfig `json:"resource"`

	// ApprovalURL is where the suite decides in the user's place. {auth_req_id}
	// and {action}, which is allow or deny, are replaced.
	ApprovalURL string `json:"automated_ciba_approval_url"`
}

// ServerConfig says where the provider is.
type ServerConfig struct {
	// DiscoveryURL is the URL of the discovery document.
	DiscoveryURL string `json:"discoveryUrl"`
}

// ClientConfig is one of the two clients.
type ClientConfig struct {
	ID string `json:"client_id"`

	// Scope has at least two values, since one module changes their order.
	Scope string `json:"scope"`

	// HintType is login_hint, and HintValue who is meant. Those of the first
	// client hold for both.
	HintType  string `json:"hint_type,omitempty"`
	HintValue string `json:"hint_value,omitempty"`

	// ACRValue must be there if the provider has acr_values_supported.
	ACRValue string `json:"acr_value,omitempty"`

	// JWKS has the private key of the client.
	JWKS jose.JSONWebKeySet `json:"jwks"`
}

// Certificate is a TLS client certificate with its key, in PEM.
type Certificate struct {
	Certificate string `json:"cert"`
	Key         string `json:"key"`
}

// ResourceConfig says where the protected resource is.
type ResourceConfig struct {
	URL string `json:"resourceUrl"`
}

// ParseConfig reads a configuration from JSON.
func ParseConfig(data []byte) (*Config, error) {
	var c Config
	err := json.Unmarshal(data, &c)
	if err != nil {
		return nil, fmt.Errorf("decoding configuration: %w", err)
	}
	return &c, nil
}

// Variant is one of the four ways to run the plan that this package knows.
type Variant struct {
	// Auth is AuthPrivateKeyJWT or AuthMTLS.
	Auth string

	// Mode is ModePoll or ModePing.
	Mode string
}

// Values of the fields of Variant, as the suite spells them.
const (
	AuthPrivateKeyJWT = "private_key_jwt"
	AuthMTLS          = "mtls"

	ModePoll = "poll"
	ModePing = "ping"
)

// Variants returns all four variants.
func Variants() []Variant {
	return []Variant{
		{AuthPrivateKeyJWT, ModePoll}, {AuthPrivateKeyJWT, ModePing}, {AuthMTLS, ModePoll}, {AuthMTLS, ModePing},
	}
}

// String returns a short name, for example "mtls-ping".
func (v Variant) String() string { return v.Auth + "-" + v.Mode }

// clientKey is the one key of a client.
func (c ClientConfig) clientKey() (jose.JSONWebKey, error) {
	if len(c.JWKS.Keys) != 1 {
		return jose.JSONWebKey{}, fmt.Errorf("client %s has %d keys, not one", c.ID, len(c.JWKS.Keys))
	}
	key := c.JWKS.Keys[0]
	if key.IsPublic() || key.KeyID == "" || key.Algorithm == "" {
		return jose.JSONWebKey{}, fmt.Errorf("the key of client %s must be private and have kid and alg", c.ID)
	}
	return key, nil
}

// pair returns the certificate as crypto/tls wants it.
func (c Certificate) pair() (tls.Certificate, error) {
	return tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key))
}
