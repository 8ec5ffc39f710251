package idp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
)

// issuer issues certificates.
type issuer struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newIssuer returns a certificate authority with the common name.
func newIssuer(t *testing.T, name string) *issuer {
	t.Helper()
	i := &issuer{t: t}
	pair := i.issue(name)
	i.certificate, i.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return i
}

// issue returns a certificate for a common name and for localhost, good for
// servers and clients. The first one is signed by itself and signs all others.
func (i *issuer) issue(name string) tls.Certificate {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	parent, signer := i.certificate, i.key
	if parent == nil {
		template.IsCA = true
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		i.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// write writes certificates, and a key if there is one, as PEM.
func (i *issuer) write(name string, key *ecdsa.PrivateKey, certificates ...*x509.Certificate) {
	i.t.Helper()
	var content []byte
	for _, certificate := range certificates {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})...)
	}
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			i.t.Fatal(err)
		}
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	err := os.WriteFile(name, content, 0o600)
	if err != nil {
		i.t.Fatal(err)
	}
}

// A client of self_signed_tls_client_auth is told by its certificate in PEM (RFC
// 8705 section 2.2), and by no other of the same name.
func TestSelfSignedCertificate(t *testing.T) {
	newServer(t)
	file := filepath.Join(t.TempDir(), "client.pem")
	own := newIssuer(t, "gateway")
	own.write(file, nil, own.certificate)
	h := &Handler{Issuer: "https://id.example.com", Clients: []*Client{{ID: "c", AuthMethod: "self_signed_tls_client_auth", JWKSFile: file}}}
	s, _, err := h.resolve(caddy.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	err = json.Unmarshal(s.Clients[0].JWKS, &set)
	if err != nil || len(set.Keys) != 1 || !set.Keys[0].Certificates[0].Equal(own.certificate) {
		t.Errorf("the keys are %s, %v", s.Clients[0].JWKS, err)
	}
	err = provision(t, `{"handler": "ciba_idp", "store": {"engine": "memory"}, "issuer": "https://id.example.com",
		"clients": [{"id": "c", "auth_method": "self_signed_tls_client_auth", "jwks_file": "`+file+`"}]}`)
	if err != nil {
		t.Error(err)
	}
	own.write(file, own.key, own.certificate)
	_, _, err = h.resolve(caddy.NewReplacer())
	if err == nil || !strings.Contains(err.Error(), "PRIVATE KEY") {
		t.Errorf("a private key: %v", err)
	}
}

// A client authenticates by its certificate and gets tokens that are bound to it
// (RFC 8705), through Caddy's TLS. Another file of authorities takes effect with
// the next config, whose text is the same.
func TestClientCertificates(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	bank, stranger := newIssuer(t, "Bank"), newIssuer(t, "Stranger")
	server := bank.issue("localhost")
	bank.write(filepath.Join(dir, "server.pem"), server.PrivateKey.(*ecdsa.PrivateKey), server.Leaf)
	bank.write(filepath.Join(dir, "clients.pem"), nil, bank.certificate)
	config := strings.NewReplacer(
		"http://localhost", "https://localhost", "<dir>", dir,
		"store memory", "store memory\n\t\tclient_ca "+dir+"/clients.pem\n\t\tmtls_base_url https://localhost:<port>",
		"secret {env.IDP_TEST_SECRET}", "certificate subject_dn CN=gateway\n\t\t\tsender_constraint mtls",
		"respond \"not", "tls <dir>/server.pem <dir>/server.pem {\n\t\tclient_auth {\n\t\t\tmode request\n\t\t}\n\t}\n\trespond \"not",
	).Replace(site)
	config = strings.ReplaceAll(config, "<dir>", dir)
	s.loadWith("\tauto_https off\n\tskip_install_trust\n", config)
	address := "https://localhost:" + s.port

	roots := x509.NewCertPool()
	roots.AddCert(bank.certificate)
	start := func(certificate *tls.Certificate) (int, map[string]any) {
		t.Helper()
		settings := &tls.Config{RootCAs: roots}
		if certificate != nil {
			settings.Certificates = []tls.Certificate{*certificate}
		}
		s.client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: settings}
		form := url.Values{"client_id": {"gateway"}, "scope": {"openid"}, "login_hint": {"anna"}}
		r := s.request(http.MethodPost, address+"/backchannel-authentication", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, body := s.do(r)
		answer := make(map[string]any)
		err := json.Unmarshal(body, &answer)
		if err != nil {
			t.Fatalf("%s %q", resp.Status, body)
		}
		return resp.StatusCode, answer
	}
	known, other, strange := bank.issue("gateway"), bank.issue("other"), stranger.issue("gateway")
	for name, test := range map[string]struct {
		certificate *tls.Certificate
		want        int
	}{
		"none": {nil, 401}, "of somebody else": {&other, 401}, "of another authority": {&strange, 401}, "the right one": {&known, 200},
	} {
		status, answer := start(test.certificate)
		if status != test.want {
			t.Errorf("certificate %s: %d %v", name, status, answer)
		}
	}

	bank.write(filepath.Join(dir, "clients.pem"), nil, stranger.certificate)
	s.loadWith("\tauto_https off\n\tskip_install_trust\n", config)
	status, answer := start(&strange)
	if status != http.StatusOK {
		t.Errorf("certificate of the new authority: %d %v", status, answer)
	}
	status, answer = start(&known)
	if status != http.StatusUnauthorized {
		t.Errorf("certificate of the old authority: %d %v", status, answer)
	}
	var metadata struct {
		Aliases map[string]string `json:"mtls_endpoint_aliases"`
		Methods []string          `json:"token_endpoint_auth_methods_supported"`
	}
	err := json.Unmarshal(s.get(address+"/.well-known/openid-configuration"), &metadata)
	if err != nil || metadata.Aliases["token_endpoint"] != address+"/token" || !strings.Contains(strings.Join(metadata.Methods, " "), "tls_client_auth") {
		t.Errorf("the metadata says %+v, %v", metadata, err)
	}
}
