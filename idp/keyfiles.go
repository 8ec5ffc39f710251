package idp

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
)

// maxKeyFile bounds in bytes what is read as keys or certificates.
const maxKeyFile = 256 << 10

// readKeys returns a JSON Web Key Set that is in the config or in a file; nil if
// it is in neither. The provider checks the keys.
func readKeys(repl *caddy.Replacer, inline json.RawMessage, file string) (json.RawMessage, error) {
	if file == "" {
		return inline, nil
	}
	name, raw, err := readFile(repl, "jwks", file)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(raw, []byte("-----BEGIN CERTIFICATE-----")) {
		certificates, err := parseCertificates("jwks", name, raw)
		if err != nil {
			return nil, err
		}
		return keySetOf(certificates)
	}
	if !json.Valid(raw) {
		return nil, fmt.Errorf("reading jwks: %s is neither a JSON Web Key Set nor certificates in PEM", name)
	}
	return raw, nil
}

// keySetOf is the JSON Web Key Set of certificates, for clients that authenticate
// by one that they have made themselves.
func keySetOf(certificates [][]byte) (json.RawMessage, error) {
	var set jose.JSONWebKeySet
	for _, der := range certificates {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading certificate: %w", err)
		}
		sum := sha256.Sum256(der)
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: certificate.PublicKey, KeyID: base64.RawURLEncoding.EncodeToString(sum[:]), Certificates: []*x509.Certificate{certificate},
		})
	}
	encoded, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encoding the keys of certificates: %w", err)
	}
	return encoded, nil
}

// readCertificates returns the certificates in PEM files, in DER. A file without
// any, and one with something else in it, is an error: whoever trusts a file means
// what is in it.
func readCertificates(repl *caddy.Replacer, what string, files []string) ([][]byte, error) {
	var certificates [][]byte
	for _, file := range files {
		name, raw, err := readFile(repl, what, file)
		if err != nil {
			return nil, err
		}
		found, err := parseCertificates(what, name, raw)
		if err != nil {
			return nil, err
		}
		certificates = append(certificates, found...)
	}
	return certificates, nil
}

// parseCertificates returns the certificates of one file, in DER.
func parseCertificates(what, name string, raw []byte) ([][]byte, error) {
	var certificates [][]byte
	for {
		var block *pem.Block
		block, raw = pem.Decode(raw)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("reading %s: %s has a %s in it; only certificates belong there", what, name, block.Type)
		}
		_, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %s: %w", what, name, err)
		}
		certificates = append(certificates, block.Bytes)
	}
	if len(certificates) == 0 {
		return nil, fmt.Errorf("reading %s: %s has no certificate in PEM in it", what, name)
	}
	return certificates, nil
}

// certPool returns a pool of certificates; nil if there are none.
func certPool(der [][]byte) (*x509.CertPool, error) {
	if len(der) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	for _, raw := range der {
		certificate, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("reading certificate: %w", err)
		}
		pool.AddCert(certificate)
	}
	return pool, nil
}

// readFile reads a file of keys whose name may have placeholders in it, and
// returns the name, too.
func readFile(repl *caddy.Replacer, what, configured string) (name string, content []byte, err error) {
	name, err = resolve(repl, what, configured)
	if err != nil {
		return "", nil, err
	}
	file, err := os.Open(name)
	if err != nil {
		return "", nil, fmt.Errorf("reading %s: %w", what, err)
	}
	defer file.Close()
	content, err = io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return "", nil, fmt.Errorf("reading %s: %w", what, err)
	}
	if len(content) > maxKeyFile {
		return "", nil, fmt.Errorf("reading %s: %s is larger than %d bytes", what, name, maxKeyFile)
	}
	return name, content, nil
}
