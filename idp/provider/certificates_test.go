package provider_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// identity is a certificate with its key, and the authorities above it.
type identity struct {
	*x509.Certificate
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate // without the certificate itself and the root
}

// issue makes a certificate, by itself if there is no authority. It is good for a
// year around the time of the fake clock.
func issue(t testing.TB, by *identity, change func(*x509.Certificate)) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := newClock().Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client", Organization: []string{"Example Bank"}, Country: []string{"DE"}},
		NotBefore: now.Add(-183 * 24 * time.Hour), NotAfter: now.Add(183 * 24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	made := &identity{key: key}
	parent, parentKey := template, key
	if by != nil {
		parent, parentKey = by.Certificate, by.key
		made.chain = by.chain
		if string(by.RawIssuer) != string(by.RawSubject) {
			made.chain = append([]*x509.Certificate{by.Certificate}, by.chain...)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	made.Certificate, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func authority(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: name}
		c.IsCA, c.ExtKeyUsage, c.KeyUsage = true, nil, x509.KeyUsageCertSign
	}
}

func poolOf(roots ...*identity) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root.Certificate)
	}
	return pool
}

// x5c is a JWKS with certificates.
func x5c(t testing.TB, identities ...*identity) json.RawMessage {
	t.Helper()
	var set jose.JSONWebKeySet
	for i, id := range identities {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: id.key.Public(), KeyID: string(rune('a' + i)), Use: "sig", Certificates: []*x509.Certificate{id.Certificate},
		})
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// certified sends a form over a connection with a certificate.
func (w *world) certified(id *identity, path string, params ...string) *answer {
	w.t.Helper()
	r := postRequest(path, form(params...).Encode())
	r.TLS = &tls.ConnectionState{}
	if id != nil {
		r.TLS.PeerCertificates = append([]*x509.Certificate{id.Certificate}, id.chain...)
	}
	return w.do(r)
}

func (w *world) startCertified(id *identity, clientID string) *answer {
	w.t.Helper()
	return w.certified(id, "/backchannel-authentication", "client_id", clientID, "scope", "openid", "login_hint", "bob")
}
