package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/interop/suite"
	"github.com/caddyciba/gateway/idp/provider"
)

// conformanceOP is a provider as the conformance plan needs it: on one port for
// plain TLS and on one that asks for client certificates, with the protected
// resource beside it, and the suite's notification endpoint on a third port.
type conformanceOP struct {
	*provider.Provider
	t        *testing.T
	clock    *sleeper
	roots    *x509.CertPool
	receiver *suite.Receiver
	configs  map[suite.Variant]*suite.Config
	sabotage atomic.Pointer[sabotage]
}

// sleeper is a clock that goes by only when somebody sleeps.
type sleeper struct {
	mu  sync.Mutex
	now time.Time
}

func (s *sleeper) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *sleeper) Sleep(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// conformanceACR is the authentication context class that the second client of
// each configuration asks for.
const conformanceACR = "urn:example:acr:two"

// The resource server's own registration.
const (
	accountsID     = "accounts"
	accountsSecret = "the-secret-of-the-accounts-resource-1f6a"
)

func newConformanceOP(t *testing.T) *conformanceOP {
	t.Helper()
	op := &conformanceOP{
		t: t, clock: &sleeper{now: time.Now()}, receiver: suite.NewReceiver(),
		roots: x509.NewCertPool(), configs: make(map[suite.Variant]*suite.Config),
	}
	certificate, err := suite.NewCertificate("op", time.Now(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	op.roots.AppendCertsFromPEM([]byte(certificate.Certificate))
	pair, err := tls.X509KeyPair([]byte(certificate.Certificate), []byte(certificate.Key))
	if err != nil {
		t.Fatal(err)
	}
	plain, mtls, pings := listen(t), listen(t), listen(t)
	issuer, mtlsURL := "https://"+plain.Addr().String(), "https://"+mtls.Addr().String()
	site := suite.Site{
		Issuer: issuer, ResourceURL: mtlsURL + "/accounts", Scope: "openid accounts", Login: "alice", Alias: "test", ACR: conformanceACR,
		ApprovalURL: issuer + "/test/ciba-action?token={auth_req_id}&type={action}",
	}
	cfg := op.config(issuer, mtlsURL)
	for _, v := range suite.Variants() {
		op.configs[v], err = suite.Generate(site, v, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cfg.Clients = append(cfg.Clients, op.registrations(v, "https://"+pings.Addr().String())...)
	}
	op.Provider, err = provider.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = op.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		op.Provider.Close()
		err := cfg.Store.Close()
		if err != nil {
			t.Errorf("closing store: %v", err)
		}
	})
	onMTLS := http.NewServeMux()
	onMTLS.Handle("/", op.Provider)
	onMTLS.Handle("/accounts", op.accounts(issuer))
	serve(t, plain, op.sabotaged(op.Provider), op.tls(pair, tls.NoClientCert))
	serve(t, mtls, op.sabotaged(onMTLS), op.tls(pair, tls.RequestClientCert))
	serve(t, pings, op.receiver, conformanceTLS(pair, tls.NoClientCert))
	return op
}

// accounts is the protected resource.
func (op *conformanceOP) accounts(issuer string) *suite.Accounts {
	a := &suite.Accounts{
		Introspection: issuer + "/introspect", ID: accountsID, Secret: accountsSecret, Scope: "accounts",
		Client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: op.roots}}},
		Thumbprint: func(r *http.Request) string {
			if len(r.TLS.PeerCertificates) == 0 {
				return ""
			}
			return suite.Thumbprint(r.TLS.PeerCertificates[0].Raw)
		},
	}
	op.t.Cleanup(a.Client.CloseIdleConnections)
	return a
}

// conformanceTLS has the versions and cipher suites that FAPI allows. A client
// certificate is asked for and not verified: clients are told apart by its hash.
func conformanceTLS(certificate tls.Certificate, auth tls.ClientAuthType) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: auth, MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	}
}

// config is the provider without its clients of the plan.
func (op *conformanceOP) config(issuer, mtlsURL string) provider.Config {
	op.t.Helper()
	users, err := provider.NewStaticUsers([]provider.User{{ID: "sub-alice", Username: "alice", Name: "Alice Example"}})
	if err != nil {
		op.t.Fatal(err)
	}
	return provider.Config{
		Issuer: issuer, MTLSBaseURL: mtlsURL, Users: users, Store: store.NewMemory(store.Options{Now: op.clock.Now}), Now: op.clock.Now,
		Logger:      zaptest.NewLogger(op.t, zaptest.Level(zap.ErrorLevel)),
		SigningAlgs: []string{"PS256"},
		NoMatchCode: true, // the suite warns of metadata that it does not know
		Scopes:      []provider.Scope{{Name: "accounts", DisplayName: "Your accounts", Audience: mtlsURL + "/accounts"}},
		Clients: []provider.Client{{
			ID: accountsID, SecretHashes: []provider.SecretHash{provider.HashSecret(accountsSecret)}, Resource: mtlsURL + "/accounts",
		}},
		NotificationNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		NotificationRoots:    op.roots,
		ACRValues:            []string{conformanceACR}, InsecureTestApprovals: true,
		MaxPendingPerUser: 1000, MaxPendingPerUserAndClient: 1000,
	}
}

// registrations are the two clients of a variant as the provider knows them.
func (op *conformanceOP) registrations(v suite.Variant, receiver string) []provider.Client {
	op.t.Helper()
	cfg := op.configs[v]
	var clients []provider.Client
	for _, c := range []struct {
		client      suite.ClientConfig
		certificate suite.Certificate
	}{{cfg.Client, cfg.MTLS}, {cfg.Client2, cfg.MTLS2}} {
		registration := provider.Client{
			ID: c.client.ID, AuthMethod: provider.AuthPrivateKeyJWT, Scopes: []string{"accounts"},
			GrantTypes: []string{provider.GrantCIBA, provider.GrantRefresh}, CertificateBound: true, Profile: provider.ProfileFAPICIBA,
			IDTokenSigningAlg: "PS256",
		}
		var certificate *suite.Certificate
		if v.Auth == suite.AuthMTLS {
			registration.AuthMethod = provider.AuthSelfSignedTLS
			certificate = &c.certificate
		}
		keys, err := c.client.PublicKeys(certificate)
		if err != nil {
			op.t.Fatal(err)
		}
		registration.JWKS = keys
		if v.Mode == suite.ModePing {
			registration.DeliveryMode = provider.DeliveryPing
			registration.NotificationEndpoint = receiver + suite.NotificationPath(cfg.Alias)
		}
		clients = append(clients, registration)
	}
	return clients
}

// suite returns the suite for a variant.
func (op *conformanceOP) suite(v suite.Variant) *suite.Suite {
	op.t.Helper()
	s, err := suite.New(suite.Options{
		Config: op.configs[v], Variant: v, Roots: op.roots, Now: op.clock.Now, Sleep: op.clock.Sleep,
		Receiver: op.receiver, Watch: 50 * time.Millisecond,
	})
	if err != nil {
		op.t.Fatal(err)
	}
	op.t.Cleanup(s.Close)
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// serve serves until the test ends. The log would tell of the handshakes that the
// suite has fail.
func serve(t testing.TB, listener net.Listener, handler http.Handler, cfg *tls.Config) {
	t.Helper()
	server := &http.Server{
		Handler: handler, TLSConfig: cfg, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		err := server.Close()
		if err != nil {
			t.Errorf("closing server: %v", err)
		}
		<-served
	})
}
