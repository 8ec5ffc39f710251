package caddyciba

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writeCertificate writes a self-signed certificate and its key, and returns the
// certificate.
func writeCertificate(t *testing.T, certFile, keyFile, name string, end time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: end.Add(-time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private},
	} {
		err = os.WriteFile(file, pem.EncodeToMemory(block), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// A renewed certificate is used without a reload, and half a renewal leaves the old
// one in use.
func TestClientCertificateRenewed(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	presents := func(c *clientCertificate) string {
		t.Helper()
		got, err := c.get(nil)
		if err != nil || got == nil {
			t.Fatalf("got %v, %v", got, err)
		}
		return got.Leaf.Subject.CommonName
	}
	writeCertificate(t, certFile, keyFile, "first", time.Now().Add(time.Hour))
	c, err := newClientCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := presents(c); got != "first" {
		t.Errorf("presents %s", got)
	}
	later := time.Now().Add(time.Minute)
	err = os.WriteFile(certFile, []byte("half a certificate"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chtimes(certFile, later, later)
	if got := presents(c); got != "first" {
		t.Errorf("presents %s", got)
	}
	writeCertificate(t, certFile, keyFile, "second", time.Now().Add(time.Hour))
	_ = os.Chtimes(certFile, later.Add(time.Minute), later.Add(time.Minute))
	if got := presents(c); got != "second" {
		t.Errorf("presents %s", got)
	}
}

func TestClientCertificateUnusable(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	_, err := newClientCertificate(certFile, keyFile)
	if err == nil {
		t.Error("missing files were taken")
	}
	writeCertificate(t, certFile, keyFile, "old", time.Now().Add(-time.Minute))
	_, err = newClientCertificate(certFile, keyFile)
	if err == nil {
		t.Error("an expired certificate was taken")
	}
}
