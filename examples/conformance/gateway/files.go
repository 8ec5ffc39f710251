package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/interop/suite"
)

// suiteConfig is what the suite wants to know of a variant.
type suiteConfig struct {
	Alias       string       `json:"alias"`
	Description string       `json:"description"`
	Server      suiteServer  `json:"server"`
	Client      suiteGateway `json:"client"`
}

// suiteServer is the provider that the suite plays, with its private key.
type suiteServer struct {
	JWKS jose.JSONWebKeySet `json:"jwks"`
}

// suiteGateway is this gateway, as the suite is to know it.
type suiteGateway struct {
	ID           string             `json:"client_id"`
	Scope        string             `json:"scope"`
	Certificate  string             `json:"certificate"`
	JWKS         jose.JSONWebKeySet `json:"jwks"`
	Notification string             `json:"backchannel_client_notification_endpoint,omitempty"`
}

// configFile is the file of a variant's configuration.
func configFile(variant string) string { return "caddyciba-gw-" + variant + ".json" }

// prepare makes what is missing in the directory: the gateway's key, certificate
// and server certificate. What is there is used again, so that the suite need not
// be told anything new. The configurations are written anew.
func prepare(o options, base string) error {
	err := os.MkdirAll(o.dir, 0o700)
	if err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	err = errors.Join(makeCertificate(o.dir, "server", o.host, o.host), makeCertificate(o.dir, "client", "caddyciba-gateway"))
	if err != nil {
		return err
	}
	key, err := makeKey(filepath.Join(o.dir, "client.jwk"), "caddyciba-gateway")
	if err != nil {
		return err
	}
	certificate, err := os.ReadFile(filepath.Join(o.dir, "client.pem"))
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	for _, v := range variants {
		server, err := makeKey(filepath.Join(o.dir, "suite-"+v+".jwk"), "suite")
		if err != nil {
			return err
		}
		alias := "caddyciba-gw-" + v
		c := suiteConfig{
			Alias: alias, Description: "caddyciba gateway, " + v,
			Server: suiteServer{JWKS: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{*server}}},
			Client: suiteGateway{
				ID: "caddyciba-gateway", Scope: "openid accounts", Certificate: string(certificate),
				JWKS:         jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}},
				Notification: base + "/.ciba/ping/" + alias,
			},
		}
		data, err := json.MarshalIndent(c, "", "  ")
		if err != nil {
			return fmt.Errorf("encoding configuration: %w", err)
		}
		err = write(filepath.Join(o.dir, configFile(v)), append(data, '\n'))
		if err != nil {
			return err
		}
	}
	return nil
}

// makeCertificate makes a self-signed certificate and its key, if there is none: for
// the hosts, or for a client if there are none.
func makeCertificate(dir, name, subject string, hosts ...string) error {
	certFile, keyFile := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	_, err := os.Stat(certFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	made, err := suite.NewCertificate(subject, time.Now(), hosts)
	if err != nil {
		return err
	}
	return errors.Join(write(keyFile, []byte(made.Key)), write(certFile, []byte(made.Certificate)))
}

// makeKey reads an RSA key for PS256, or makes one.
func makeKey(file, kid string) (*jose.JSONWebKey, error) {
	key := &jose.JSONWebKey{}
	data, err := os.ReadFile(file)
	if err == nil {
		err = key.UnmarshalJSON(data)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	*key = jose.JSONWebKey{Key: private, KeyID: kid, Algorithm: "PS256", Use: "sig"}
	data, err = key.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	return key, write(file, data)
}

// write writes a file that only its owner can read.
func write(file string, data []byte) error {
	err := os.WriteFile(file, data, 0o600)
	if err != nil {
		return fmt.Errorf("writing file: %w", err)
	}
	return nil
}
