package idp

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"

	"github.com/caddyserver/caddy/v2"
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
	if !json.Valid(raw) {
		return nil, fmt.Errorf("reading jwks: %s is not a JSON Web Key Set", name)
	}
	return raw, nil
}

// readCertificates returns the certificates in PEM files, in DER. A file without
// any, and one with something else in it, is an error: whoever trusts a file means
// what is in it.
func readCertificates(repl *caddy.Replacer, what string, files []string) ([][]byte, error) {
	var certificates [][]byte
	for _, file := range files {
		name, rest, err := readFile(repl, what, file)
		if err != nil {
			return nil, err
		}
		found := 0
		for {
			var block *pem.Block
			block, rest = pem.Decode(rest)
			if block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				return nil, fmt.Errorf("reading %s: %s has a %s in it; only certificates belong there", what, name, block.Type)
			}
			_, err = x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("reading %s: %s: %w", what, name, err)
			}
			certificates = append(certificates, block.Bytes)
			found++
		}
		if found == 0 {
			return nil, fmt.Errorf("reading %s: %s has no certificate in PEM in it", what, name)
		}
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
