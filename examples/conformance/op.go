package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/interop/suite"
)

const (
	// alias begins the alias of each configuration, with the variant behind it.
	alias = "caddyciba"

	// timeout bounds what goes on between parts of this program.
	timeout = 10 * time.Second
)

// op is the provider with everything around it.
type op struct {
	files            files
	issuer, mtlsURL  string
	certificate, key string // files
	configs          []*suite.Config
	accounts         *accounts
}

// start makes what is missing in the directory, and serves until stop is called.
func start(o options) (*op, error) {
	err := o.fill()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, fmt.Errorf("finding directory: %w", err)
	}
	op := &op{files: files(dir), issuer: urlOf(o.host, o.plain), mtlsURL: urlOf(o.host, o.mtls)}
	err = op.files.make()
	if err != nil {
		return nil, err
	}
	pair, err := op.serverCertificate(o)
	if err != nil {
		return nil, err
	}
	err = op.configure()
	if err != nil {
		return nil, err
	}
	op.accounts, err = startAccounts(op.issuer, pair.Leaf)
	if err != nil {
		return nil, err
	}
	err = op.startCaddy(o)
	if err != nil {
		return nil, errors.Join(err, op.accounts.stop())
	}
	return op, nil
}

// stop ends what start has begun.
func (op *op) stop() error {
	return errors.Join(caddy.Stop(), op.accounts.stop())
}

// configure makes or reads the configurations, and writes their public keys where
// the Caddyfile has them read from.
func (op *op) configure() error {
	site := suite.Site{
		Issuer: op.issuer, ResourceURL: op.mtlsURL + "/accounts", Scope: "openid accounts", Login: "alice", Alias: alias, ACR: "phr",
		ApprovalURL: op.issuer + "/test/ciba-action?token={auth_req_id}&type={action}",
	}
	for _, v := range suite.Variants() {
		c, err := op.files.config(site, v)
		if err != nil {
			return err
		}
		op.configs = append(op.configs, c)
		first, second := &c.MTLS, &c.MTLS2
		if v.Auth != suite.AuthMTLS {
			first, second = nil, nil // these clients are told apart by their signatures
		}
		err = errors.Join(op.files.publish(c.Client, first), op.files.publish(c.Client2, second))
		if err != nil {
			return err
		}
	}
	return nil
}

// urlOf returns the base URL of a port.
func urlOf(host string, port int) string {
	return "https://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// fill takes a free port where the port is 0.
func (o *options) fill() error {
	for _, port := range []*int{&o.plain, &o.mtls} {
		if *port != 0 {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort(o.bind, "0"))
		if err != nil {
			return fmt.Errorf("finding a free port: %w", err)
		}
		// Closed after the loop, so that no port is given out twice.
		defer listener.Close()
		*port = listener.Addr().(*net.TCPAddr).Port
	}
	return nil
}
