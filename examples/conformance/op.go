package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/interop/suite"
	"github.com/caddyciba/gateway/idp/provider"
)

const (
	alias       = "caddyciba" // of the configurations, with the variant behind it
	login       = "alice"
	subject     = "sub-alice"
	scope       = "accounts"
	pathAccount = "/accounts"
	pathDecide  = "/test/ciba-action"

	// readTimeout bounds how long a client takes to send a request, and
	// stopTimeout how long the end of this program waits for answers.
	readTimeout = 10 * time.Second
	stopTimeout = 2 * time.Second
)

// ciphers are the cipher suites of TLS 1.2 that FAPI 1.0 part 2 section 8.5 allows
// and that Go has. They demand an RSA certificate.
var ciphers = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}

// op is the provider with everything around it.
type op struct {
	files           files
	issuer, mtlsURL string
	configs         []*suite.Config
	failed          chan error // a server has ended by itself

	provider  *provider.Provider
	store     store.Store
	accounts  *suite.Accounts
	plain     net.Listener
	mtls      net.Listener
	servers   []*http.Server
	server    tls.Certificate
	resources string // secret of the resource server
}

// newOP prepares everything and listens. Nobody is answered yet.
func newOP(o options) (*op, error) {
	op := &op{files: files(o.dir), failed: make(chan error, 2), resources: rand.Text()}
	err := op.files.make()
	if err != nil {
		return nil, err
	}
	op.server, err = op.files.serverCertificate(o)
	if err != nil {
		return nil, err
	}
	op.plain, err = net.Listen("tcp", o.plain)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	op.mtls, err = net.Listen("tcp", o.mtls)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening: %w", err), op.plain.Close())
	}
	op.issuer, op.mtlsURL = urlOf(o.host, op.plain), urlOf(o.host, op.mtls)
	err = op.configure(o)
	if err != nil {
		return nil, errors.Join(err, op.plain.Close(), op.mtls.Close())
	}
	return op, nil
}

func urlOf(host string, listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String()) // of a listener it is well formed
	return "https://" + net.JoinHostPort(host, port)
}

// configure makes the configurations and the provider that fits them.
func (op *op) configure(o options) error {
	suiteRoots, err := roots(o.suiteCA)
	if err != nil {
		return err
	}
	users, err := provider.NewStaticUsers([]provider.User{{ID: subject, Username: login, Name: "Alice Example"}})
	if err != nil {
		return err
	}
	log, err := newLogger()
	if err != nil {
		return err
	}
	op.store = store.NewMemory(store.Options{})
	cfg := provider.Config{
		Issuer: op.issuer, MTLSBaseURL: op.mtlsURL, Store: op.store, Users: users, Logger: log, Interval: o.interval,
		SigningAlgs:           []string{"PS256"},
		Scopes:                []provider.Scope{{Name: scope, DisplayName: "Your accounts", Audience: op.mtlsURL + pathAccount}},
		Clients:               []provider.Client{{ID: scope, SecretHashes: []provider.SecretHash{provider.HashSecret(op.resources)}, Resource: op.mtlsURL + pathAccount}},
		NotificationNetworks:  privateNetworks(),
		NotificationRoots:     suiteRoots,
		InsecureTestApprovals: true,
		// One user plays all modules, and some modules leave a request behind.
		MaxPendingPerUser: 1000, MaxPendingPerUserAndClient: 1000,
	}
	site := suite.Site{
		Issuer: op.issuer, ResourceURL: op.mtlsURL + pathAccount, Scope: "openid " + scope, Login: login, Alias: alias,
		ApprovalURL: op.issuer + pathDecide + "?token={auth_req_id}&type={action}",
	}
	for _, v := range suite.Variants() {
		c, err := op.files.config(site, v)
		if err != nil {
			return err
		}
		op.configs = append(op.configs, c)
		clients, err := registrations(c, v, o.suite)
		if err != nil {
			return fmt.Errorf("registering clients of %s: %w", c.Alias, err)
		}
		cfg.Clients = append(cfg.Clients, clients...)
	}
	op.provider, err = provider.New(cfg)
	if err != nil {
		return err
	}
	op.accounts = &suite.Accounts{
		Introspection: op.issuer + "/introspect", ID: scope, Secret: op.resources, Scope: scope,
		Client: op.ownClient(), Thumbprint: thumbprint,
	}
	return nil
}

// registrations are the two clients of a configuration as the provider knows them.
func registrations(c *suite.Config, v suite.Variant, suiteURL string) ([]provider.Client, error) {
	var clients []provider.Client
	for _, one := range []struct {
		client      suite.ClientConfig
		certificate suite.Certificate
	}{{c.Client, c.MTLS}, {c.Client2, c.MTLS2}} {
		client := provider.Client{
			ID: one.client.ID, Name: "Conformance suite", Scopes: []string{scope},
			GrantTypes: []string{provider.GrantCIBA, provider.GrantRefresh},
			Profile:    provider.ProfileFAPICIBA, CertificateBound: true,
		}
		var certificate *suite.Certificate
		client.AuthMethod = provider.AuthPrivateKeyJWT
		if v.Auth == suite.AuthMTLS {
			client.AuthMethod = provider.AuthSelfSignedTLS
			certificate = &one.certificate
		}
		keys, err := one.client.PublicKeys(certificate)
		if err != nil {
			return nil, err
		}
		client.JWKS = keys
		if v.Mode == suite.ModePing {
			client.DeliveryMode = provider.DeliveryPing
			client.NotificationEndpoint = suiteURL + suite.NotificationPath(c.Alias)
		}
		clients = append(clients, client)
	}
	return clients, nil
}

// privateNetworks are where a suite runs that somebody runs for himself.
func privateNetworks() []netip.Prefix {
	var networks []netip.Prefix
	for _, network := range []string{"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"} {
		networks = append(networks, netip.MustParsePrefix(network))
	}
	return networks
}

// ownClient calls the provider from here, whatever its name resolves to.
func (op *op) ownClient() *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(op.server.Leaf)
	dialer := new(net.Dialer)
	return &http.Client{Timeout: readTimeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(op.plain.Addr().String())
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, net.JoinHostPort("localhost", port))
		},
	}}
}

// thumbprint names the client certificate of a request.
func thumbprint(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return suite.Thumbprint(r.TLS.PeerCertificates[0].Raw)
}

// start begins to serve.
func (op *op) start(ctx context.Context) error {
	err := op.provider.Start(ctx)
	if err != nil {
		return err
	}
	withAccounts := http.NewServeMux()
	withAccounts.Handle("/", op.provider)
	withAccounts.Handle(pathAccount, op.accounts)
	op.serve(op.plain, op.provider, tls.NoClientCert)
	// Certificates are asked for and not demanded, and whether they are trusted is
	// for the provider to say: it knows its clients' by heart.
	op.serve(op.mtls, withAccounts, tls.RequestClientCert)
	return nil
}

func (op *op) serve(listener net.Listener, handler http.Handler, auth tls.ClientAuthType) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout,
		// The suite tries connections that fail; the default would tell of each.
		ErrorLog: log.New(os.Stderr, "", 0),
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{op.server}, ClientAuth: auth, MinVersion: tls.VersionTLS12, CipherSuites: ciphers,
		},
	}
	op.servers = append(op.servers, server)
	go func() {
		err := server.ServeTLS(listener, "", "")
		if !errors.Is(err, http.ErrServerClosed) {
			op.failed <- err
		}
	}()
}

// close ends everything.
func (op *op) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	errs := []error{}
	for _, server := range op.servers {
		err := server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		errs = append(errs, err)
	}
	op.accounts.Client.CloseIdleConnections()
	op.provider.Close()
	return errors.Join(append(errs, op.store.Close())...)
}

// newLogger logs each step of a request to standard error.
func newLogger() (*zap.Logger, error) {
	cfg := zap.NewDevelopmentConfig()
	cfg.Level = zap.NewAtomicLevelAt(zapcore.DebugLevel)
	cfg.DisableStacktrace, cfg.DisableCaller = true, true
	logger, err := cfg.Build()
	if err != nil {
		return nil, fmt.Errorf("making logger: %w", err)
	}
	return logger, nil
}
