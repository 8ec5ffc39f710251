package ciba

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// aliased returns metadata with mTLS aliases under /mtls.
func aliased(op *fakeOP) map[string]any {
	md := op.metadata()
	md["mtls_endpoint_aliases"] = map[string]any{
		"backchannel_authentication_endpoint": op.issuer + "/mtls/backchannel",
		"token_endpoint":                      op.issuer + "/mtls/token",
		"revocation_endpoint":                 op.issuer + "/mtls/revoke",
	}
	return md
}

// Which requests go to the aliases. With private_key_jwt and bound tokens it is
// the token request only, as the conformance suite has it.
func TestMTLSAliases(t *testing.T) {
	for name, row := range map[string]struct {
		auth   Authenticator
		bound  bool
		alias  bool
		start  string
		token  string
		revoke string
	}{
		"secret":                     {ClientSecretBasic("s"), false, true, "/backchannel", "/token", "/revoke"},
		"secret with bound tokens":   {ClientSecretBasic("s"), true, true, "/backchannel", "/mtls/token", "/revoke"},
		"certificate":                {TLSClientAuth(), false, true, "/mtls/backchannel", "/mtls/token", "/mtls/revoke"},
		"self-signed certificate":    {SelfSignedTLSClientAuth(), false, true, "/mtls/backchannel", "/mtls/token", "/mtls/revoke"},
		"certificate without alias":  {TLSClientAuth(), false, false, "/backchannel", "/token", "/revoke"},
		"bound tokens without alias": {ClientSecretBasic("s"), true, false, "/backchannel", "/token", "/revoke"},
	} {
		t.Run(name, func(t *testing.T) {
			c, op := newTestClient(t, func(cfg *Config) { cfg.Auth, cfg.CertificateBoundTokens = row.auth, row.bound })
			if row.alias {
				op.on("/.well-known/openid-configuration", sends(200, aliased(op)))
			}
			op.on("/mtls/backchannel", op.handlers["/backchannel"])
			op.on("/mtls/token", op.approve(nil))
			op.on("/mtls/revoke", op.handlers["/revoke"])
			p := start(t, c)
			_, err := c.Poll(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Revoke(t.Context(), "x", "")
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{row.start, row.token, row.revoke} {
				calls := op.seen(path)
				if len(calls) != 1 {
					t.Fatalf("%d requests at %s", len(calls), path)
				}
				_, isCert := row.auth.(certificateAuth)
				if isCert != (calls[0].form.Get("client_id") == testClient) || calls[0].form.Has("client_assertion") {
					t.Errorf("%s: form %v", path, calls[0].form)
				}
			}
		})
	}
}

func TestMTLSNeedsAnHTTPClient(t *testing.T) {
	for _, cfg := range []Config{
		{Auth: TLSClientAuth()},
		{Auth: ClientSecretBasic("s"), CertificateBoundTokens: true},
	} {
		cfg.Issuer, cfg.ClientID = "https://id.example.com", "c"
		_, err := NewClient(cfg)
		if err == nil {
			t.Error("accepted without a certificate")
		}
	}
}

// Over TLS the certificate of NewHTTPClient arrives.
func TestMTLSConnection(t *testing.T) {
	op := newFakeOP("")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" && len(r.TLS.PeerCertificates) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		op.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	op.issuer = server.URL
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.Certificates = []tls.Certificate{newCertificate(t)}
	c, err := NewClient(Config{
		Issuer: server.URL, ClientID: testClient, Auth: SelfSignedTLSClientAuth(), HTTPClient: NewHTTPClient(config),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.http.CloseIdleConnections()
	_, err = c.Poll(t.Context(), start(t, c))
	if err != nil {
		t.Fatal(err)
	}
}

func newCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: testClient},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
