package interop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddyciba/gateway/caddyciba"
	_ "github.com/caddyciba/gateway/caddyciba/store/caddystore"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caddyciba-interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		_ = os.Setenv(name, dir)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// credentials are what gateway and providers know each other by. Files are in dir.
type credentials struct {
	dir string

	// serverCert is for providers and resources at 127.0.0.1 and localhost; ca.pem
	// vouches for it.
	serverCert tls.Certificate

	// clientCert is the gateway's, in client.pem and client-key.pem.
	clientCert *x509.Certificate

	// clientKey signs the gateway's assertions and requests, and is in client.jwk.
	clientKey jose.JSONWebKey
}

func newCredentials(t *testing.T) *credentials {
	t.Helper()
	c := &credentials{dir: t.TempDir()}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.clientKey = jose.JSONWebKey{Key: key, KeyID: "gateway-1", Algorithm: "PS256", Use: "sig"}
	c.write(t, "client.jwk", encode(t, c.clientKey))

	serverKey := newECKey(t)
	der := selfSigned(t, "127.0.0.1", serverKey)
	c.write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.serverCert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: serverKey}
	c.write(t, "server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.write(t, "server-key.pem", encodeKey(t, serverKey))

	certKey := newECKey(t)
	der = selfSigned(t, "gateway", certKey)
	c.clientCert, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c.write(t, "client.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.write(t, "client-key.pem", encodeKey(t, certKey))
	return c
}

func encodeKey(t *testing.T, key crypto.PrivateKey) []byte {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// httpClient is a caller that trusts the servers.
func (c *credentials) httpClient(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(c.serverCert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	return &http.Client{Timeout: time.Minute, Transport: transport}
}

func (c *credentials) path(name string) string { return filepath.Join(c.dir, name) }

func (c *credentials) write(t *testing.T, name string, content []byte) {
	t.Helper()
	err := os.WriteFile(c.path(name), content, 0o600)
	if err != nil {
		t.Fatal(err)
	}
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func selfSigned(t *testing.T, name string, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// startCaddy runs Caddy with a Caddyfile, whose global options lack the braces.
func startCaddy(t *testing.T, global, sites string) {
	t.Helper()
	caddyfile := fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tskip_install_trust\n\tgrace_period 1s\n\tlog {\n\t\toutput file %s\n\t}\n%s\n}\n%s\n",
		logFile(t), global, sites)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := caddy.Stop()
		if err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	err = caddy.Load(config, true)
	if err != nil {
		t.Fatalf("loading configuration: %v", err)
	}
}

// logFile is where Caddy logs, so that a test can look for reasons.
func logFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(os.Getenv("XDG_DATA_HOME"), strings.ReplaceAll(t.Name(), "/", "_")+".log")
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
