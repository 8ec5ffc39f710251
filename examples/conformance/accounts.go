package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/caddyciba/gateway/idp/interop/suite"
)

// certificateHeader is how Caddy tells which client certificate the connection
// has. The Caddyfile sets it, so no client can.
const certificateHeader = "X-Client-Certificate"

// accounts is the protected resource of the plan, behind Caddy.
type accounts struct {
	address string // where it listens
	secret  string // by which it asks about tokens
	handler *suite.Accounts
	server  *http.Server
	served  chan error
}

// startAccounts listens and serves in the background. The provider is asked at the
// port of its issuer on this host, since its name may be known to the suite only.
func startAccounts(issuer string, certificate *x509.Certificate) (*accounts, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the resource: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	dialer := new(net.Dialer)
	a := &accounts{address: listener.Addr().String(), secret: rand.Text(), served: make(chan error, 1)}
	a.handler = &suite.Accounts{
		Introspection: issuer + "/introspect", ID: "accounts", Secret: a.secret, Scope: "accounts",
		Thumbprint: forwardedThumbprint,
		Client: &http.Client{Timeout: timeout, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return dialer.DialContext(ctx, network, net.JoinHostPort("localhost", port))
			},
		}},
	}
	a.server = &http.Server{
		Handler: a.handler, ReadHeaderTimeout: timeout, ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { a.served <- a.server.Serve(listener) }()
	return a, nil
}

// forwardedThumbprint names the client certificate of the connection to Caddy.
func forwardedThumbprint(r *http.Request) string {
	der, err := base64.StdEncoding.DecodeString(r.Header.Get(certificateHeader))
	if err != nil || len(der) == 0 {
		return ""
	}
	return suite.Thumbprint(der)
}

// stop ends the resource.
func (a *accounts) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := a.server.Shutdown(ctx)
	if err != nil {
		err = a.server.Close()
	}
	a.handler.Client.CloseIdleConnections()
	served := <-a.served
	if !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
