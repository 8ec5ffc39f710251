package main

import (
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyciba/gateway/idp/interop/suite"
)

// Names of files in the directory, besides those of the configurations.
const (
	certificateFile = "server.pem"
	keyFile         = "server-key.pem"
)

// files is the directory that keys and configurations are kept in. What is there
// is used again, so that a restart does not change what the suite was told.
type files string

func (f files) path(name string) string { return filepath.Join(string(f), name) }

func (f files) make() error {
	err := os.MkdirAll(string(f), 0o700)
	if err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	return nil
}

// write writes a file that only its owner can read.
func (f files) write(name string, data []byte) error {
	err := os.WriteFile(f.path(name), data, 0o600)
	if err != nil {
		return fmt.Errorf("writing file: %w", err)
	}
	return nil
}

// serverCertificate takes the certificate that was given, or a self-signed one for
// the host.
func (op *op) serverCertificate(o options) (tls.Certificate, error) {
	if o.cert != "" || o.key != "" {
		op.certificate, op.key = o.cert, o.key
		return loadPair(op.certificate, op.key)
	}
	op.certificate, op.key = op.files.path(certificateFile), op.files.path(keyFile)
	pair, err := loadPair(op.certificate, op.key)
	if err == nil && pair.Leaf.VerifyHostname(o.host) == nil && time.Now().Add(24*time.Hour).Before(pair.Leaf.NotAfter) {
		return pair, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pair, err
	}
	made, err := suite.NewCertificate(o.host, time.Now(), []string{o.host})
	if err != nil {
		return pair, err
	}
	err = errors.Join(op.files.write(certificateFile, []byte(made.Certificate)), op.files.write(keyFile, []byte(made.Key)))
	if err != nil {
		return pair, err
	}
	return loadPair(op.certificate, op.key)
}

func loadPair(certificate, key string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return pair, fmt.Errorf("reading server certificate: %w", err)
	}
	_, isRSA := pair.PrivateKey.(*rsa.PrivateKey)
	if !isRSA {
		return pair, errors.New("the server certificate must be RSA: FAPI allows no cipher suite of TLS 1.2 that others could use")
	}
	return pair, nil
}

// publish writes the keys of a client as the provider is to know them, with the
// client's certificate if it authenticates by that.
func (f files) publish(c suite.ClientConfig, certificate *suite.Certificate) error {
	keys, err := c.PublicKeys(certificate)
	if err != nil {
		return fmt.Errorf("publishing keys of %s: %w", c.ID, err)
	}
	return f.write(c.ID+".jwks", keys)
}

// config returns the configuration of a variant, with the keys that are in the
// directory or with new ones, and writes it down.
func (f files) config(site suite.Site, v suite.Variant) (*suite.Config, error) {
	name := site.Alias + "-" + v.String() + ".json"
	data, err := os.ReadFile(f.path(name))
	var c *suite.Config
	switch {
	case err == nil:
		c, err = suite.ParseConfig(data)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		site.Place(c)
	case errors.Is(err, fs.ErrNotExist):
		c, err = suite.Generate(site, v, time.Now())
		if err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	data, err = json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding configuration: %w", err)
	}
	return c, f.write(name, append(data, '\n'))
}
