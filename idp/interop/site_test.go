package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/interop/suite"
	"github.com/caddyciba/gateway/idp/provider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a provider behind TLS on a port of the loopback interface.
type site struct {
	*provider.Provider
	issuer   string
	certFile string // for programs that are given the certificate as a file
	client   *http.Client
}

// newSite returns a provider with the user alice. change may alter its
// configuration; decide, if not nil, is called for each new request.
func newSite(t testing.TB, change func(*provider.Config), decide func(*provider.Provider, *provider.Request)) *site {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := suite.NewCertificate("op", time.Now(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(certificate.Certificate), []byte(certificate.Key))
	if err != nil {
		t.Fatal(err)
	}
	s := &site{issuer: "https://" + listener.Addr().String()}
	s.certFile = filepath.Join(t.TempDir(), "server.pem")
	err = os.WriteFile(s.certFile, []byte(certificate.Certificate), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	users, err := provider.NewStaticUsers([]provider.User{{
		ID: "sub-alice", Username: "alice", Name: "Alice Example", Claims: map[string]any{"email": "alice@example.com"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	records := store.NewMemory(store.Options{})
	cfg := provider.Config{
		Issuer: s.issuer, Store: records, Users: users,
		Limits:   provider.Limits{User: provider.Rate{Burst: -1}}, // alice is asked by everybody at once
		CoolDown: provider.CoolDown{First: -1},                    // and has denied some of them
		Logger:   zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)),
		Notify: func(_ context.Context, r *provider.Request) {
			if decide != nil {
				decide(s.Provider, r)
			}
		},
	}
	change(&cfg)
	s.Provider, err = provider.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: s.Provider, ErrorLog: log.New(&testWriter{t}, "", 0), ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(certificate.Certificate))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	s.client = &http.Client{Transport: transport, Timeout: time.Minute}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		err := server.Close()
		if err != nil {
			t.Errorf("closing server: %v", err)
		}
		<-served
		s.Provider.Close()
		err = records.Close()
		if err != nil {
			t.Errorf("closing store: %v", err)
		}
	})
	return s
}

// testWriter writes the server's complaints into the test's log.
type testWriter struct{ t testing.TB }

func (w *testWriter) Write(line []byte) (int, error) {
	w.t.Logf("server: %s", line)
	return len(line), nil
}
