package main

import (
	"crypto/tls"
	"crypto/x509"
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

// serverCertificate returns the certificate of the files that were given, or a
// self-signed one for the host.
func (f files) serverCertificate(o options) (tls.Certificate, error) {
	if o.cert != "" || o.key != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return pair, fmt.Errorf("reading server certificate: %w", err)
		}
		return pair, nil
	}
	pair, err := tls.LoadX509KeyPair(f.path(certificateFile), f.path(keyFile))
	if err == nil && pair.Leaf.VerifyHostname(o.host) == nil && time.Now().Add(24*time.Hour).Before(pair.Leaf.NotAfter) {
		return pair, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pair, fmt.Errorf("reading server certificate: %w", err)
	}
	made, err := suite.NewCertificate(o.host, time.Now(), []string{o.host})
	if err != nil {
		return pair, err
	}
	err = errors.Join(f.write(certificateFile, []byte(made.Certificate)), f.write(keyFile, []byte(made.Key)))
	if err != nil {
		return pair, err
	}
	return tls.X509KeyPair([]byte(made.Certificate), []byte(made.Key))
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

// roots returns the certificates of a file, or nil for those of the system.
func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading certificate of the suite: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return pool, nil
}
