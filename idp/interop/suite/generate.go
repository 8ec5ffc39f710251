package suite

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	keyBits         = 2048
	certificateLife = 90 * 24 * time.Hour
)

// Site says where the things are that a configuration names.
type Site struct {
	// Issuer is the provider.
	Issuer string

	// ResourceURL is the protected resource, on a port that asks for client
	// certificates.
	ResourceURL string

	// ApprovalURL is where the suite decides, with {auth_req_id} and {action}.
	ApprovalURL string

	// Scope are at least two scopes, and Login the user's name.
	Scope, Login string

	// ACR is the authentication context class that the second client asks for. It
	// must be one of the provider's if the provider has any.
	ACR string

	// Alias begins the alias of each configuration and the ids of its clients.
	Alias string
}

// Place writes the URLs of the site into a configuration.
func (s Site) Place(c *Config) {
	c.Server.DiscoveryURL = s.Issuer + "/.well-known/openid-configuration"
	c.Resource.URL = s.ResourceURL
	c.ApprovalURL = s.ApprovalURL
}

// Generate makes the configuration of a variant, with new keys and certificates.
// The keys are RSA with PS256, without which the suite skips two modules.
func Generate(site Site, v Variant, now time.Time) (*Config, error) {
	alias := site.Alias + "-" + v.String()
	c := &Config{Alias: alias, Description: alias}
	site.Place(c)
	for i, to := range []struct {
		client      *ClientConfig
		certificate *Certificate
	}{{&c.Client, &c.MTLS}, {&c.Client2, &c.MTLS2}} {
		id := fmt.Sprintf("%s-%d", alias, i+1)
		key, err := rsa.GenerateKey(rand.Reader, keyBits)
		if err != nil {
			return nil, fmt.Errorf("generating key: %w", err)
		}
		*to.client = ClientConfig{ID: id, Scope: site.Scope, JWKS: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: key, KeyID: id + "-sig", Algorithm: string(jose.PS256), Use: "sig"},
		}}}
		*to.certificate, err = NewCertificate(id, now, nil)
		if err != nil {
			return nil, err
		}
	}
	c.Client.HintType, c.Client.HintValue = "login_hint", site.Login
	c.Client2.ACRValue = site.ACR
	return c, nil
}

// NewCertificate makes a self-signed RSA certificate with a common name: for the
// hosts, names or IP addresses, if there are any, else for a client.
func NewCertificate(name string, now time.Time, hosts []string) (Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return Certificate{}, fmt.Errorf("generating key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return Certificate{}, fmt.Errorf("generating serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		BasicConstraintsValid: true, IsCA: len(hosts) > 0,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(hosts) > 0 {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, host := range hosts {
		ip := net.ParseIP(host)
		if ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Certificate{}, fmt.Errorf("making certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Certificate{}, fmt.Errorf("encoding key: %w", err)
	}
	return Certificate{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}, nil
}

// DER returns the certificate without its key.
func (c Certificate) DER() ([]byte, error) {
	block, _ := pem.Decode([]byte(c.Certificate))
	if block == nil {
		return nil, errors.New("certificate is not PEM")
	}
	return block.Bytes, nil
}

// Thumbprint returns the certificate's x5t#S256 (RFC 8705 section 3.1).
func Thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// PublicKeys returns the client's JWKS as the provider is to know it, with the
// certificate as x5c of a key of its own if one is given (RFC 8705 section 2.2.2).
func (c ClientConfig) PublicKeys(certificate *Certificate) (json.RawMessage, error) {
	var set jose.JSONWebKeySet
	for _, key := range c.JWKS.Keys {
		set.Keys = append(set.Keys, key.Public())
	}
	if certificate != nil {
		der, err := certificate.DER()
		if err != nil {
			return nil, err
		}
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parsing certificate: %w", err)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: parsed.PublicKey, KeyID: c.ID + "-tls", Use: "sig", Certificates: []*x509.Certificate{parsed},
		})
	}
	data, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encoding JWKS: %w", err)
	}
	return data, nil
}
