package provider_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// RFC 8705 section 2.1; CIBA checklist A2, D6; threats B26, T01
func TestTLSClientAuth(t *testing.T) {
	root, foreignRoot := issue(t, nil, authority("root")), issue(t, nil, authority("root"))
	intermediate := issue(t, root, authority("issuing"))
	uri, err := url.Parse("urn:example:client:7")
	if err != nil {
		t.Fatal(err)
	}
	names := func(c *x509.Certificate) {
		c.DNSNames = []string{"other.example.com", "Client.example.com", "*.wild.example.com"}
		c.URIs = []*url.URL{uri}
		c.IPAddresses = []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")}
		c.EmailAddresses = []string{"Ops@Example.com"}
	}
	good := issue(t, intermediate, names)
	cases := []struct {
		name    string
		subject provider.CertificateSubject
		want    bool
	}{
		{"dn", provider.CertificateSubject{DN: "CN=client,O=Example Bank,C=DE"}, true},
		{"dn in another case", provider.CertificateSubject{DN: "cn=Client,o=example  bank,c=de"}, true},
		{"dn of somebody else", provider.CertificateSubject{DN: "CN=client2,O=Example Bank,C=DE"}, false},
		{"dn without a part", provider.CertificateSubject{DN: "CN=client,O=Example Bank"}, false},
		{"dn in the other order", provider.CertificateSubject{DN: "C=DE,O=Example Bank,CN=client"}, false},
		{"dns", provider.CertificateSubject{DNS: "client.EXAMPLE.com"}, true},
		{"dns of somebody else", provider.CertificateSubject{DNS: "evil.example.com"}, false},
		{"dns below a wildcard", provider.CertificateSubject{DNS: "a.wild.example.com"}, false},
		{"dns in the common name", provider.CertificateSubject{DNS: "client"}, false},
		{"uri", provider.CertificateSubject{URI: "urn:example:client:7"}, true},
		{"uri in another case", provider.CertificateSubject{URI: "urn:example:Client:7"}, false},
		{"ip", provider.CertificateSubject{IP: "192.0.2.7"}, true},
		{"ip version 6", provider.CertificateSubject{IP: "2001:0db8:0:0::7"}, true},
		{"ip of somebody else", provider.CertificateSubject{IP: "192.0.2.8"}, false},
		{"email", provider.CertificateSubject{Email: "Ops@EXAMPLE.com"}, true},
		{"email of somebody else", provider.CertificateSubject{Email: "ops@example.com"}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(cfg *provider.Config) {
				cfg.ClientRoots = poolOf(root)
				cfg.Clients = append(cfg.Clients, provider.Client{ID: "tls", AuthMethod: provider.AuthTLS, CertificateSubject: c.subject})
			})
			a := w.startCertified(good, "tls")
			if !c.want {
				a.want(t, 401, "invalid_client")
				return
			}
			a.want(t, 200, "")
			w.certified(good, "/token", "client_id", "tls", "grant_type", provider.GrantCIBA, "auth_req_id", a.str("auth_req_id")).
				want(t, 400, "authorization_pending")
			w.certified(good, "/introspect", "client_id", "tls", "token", "x").want(t, 200, "")
		})
	}

	w := newWorld(t, func(cfg *provider.Config) {
		cfg.ClientRoots = poolOf(root)
		cfg.Clients = append(cfg.Clients,
			provider.Client{ID: "tls", AuthMethod: provider.AuthTLS, CertificateSubject: provider.CertificateSubject{DN: "CN=client,O=Example Bank,C=DE"}},
			provider.Client{ID: "off", Disabled: true, AuthMethod: provider.AuthTLS, CertificateSubject: provider.CertificateSubject{DN: "CN=client,O=Example Bank,C=DE"}},
			provider.Client{ID: "second", AuthMethod: provider.AuthTLS, CertificateSubject: provider.CertificateSubject{DNS: "second.example.com"}},
		)
	})
	now := w.clock.Now()
	bare := *good
	bare.chain = nil
	bad := map[string]*identity{
		"no certificate":        nil,
		"self-signed":           issue(t, nil, names),
		"of another authority":  issue(t, foreignRoot, names),
		"chain incomplete":      &bare,
		"expired":               issue(t, intermediate, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }),
		"not valid yet":         issue(t, intermediate, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }),
		"for servers":           issue(t, intermediate, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"issued by a leaf":      issue(t, issue(t, root, nil), nil),
		"of an expired issuer":  issue(t, issue(t, root, func(c *x509.Certificate) { authority("old")(c); c.NotAfter = now.Add(-time.Second) }), nil),
		"of another client":     issue(t, intermediate, func(c *x509.Certificate) { c.Subject.CommonName = "second" }),
		"with a longer subject": issue(t, intermediate, func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"x"} }),
	}
	want := w.post("nobody", "/backchannel-authentication", "scope", "openid").raw
	for _, name := range readLines(t, "certificate.txt") {
		id, known := bad[name]
		if !known {
			t.Fatalf("unknown certificate %q", name)
		}
		delete(bad, name)
		a := w.startCertified(id, "tls")
		if a.status != 401 || a.raw != want || a.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %s %v", name, a.status, a.raw, a.header)
		}
	}
	if len(bad) > 0 {
		t.Errorf("not in the list: %v", bad)
	}
	for _, id := range []string{"off", "second", "nobody", "gateway"} {
		a := w.startCertified(good, id)
		if a.status != 401 || a.raw != want {
			t.Errorf("%s: %d %s", id, a.status, a.raw)
		}
	}
	// A certificate takes the place of no other method, and none of the certificate.
	w.certified(good, "/token", "client_id", "tls", "client_secret", "x", "grant_type", provider.GrantCIBA).want(t, 401, "invalid_client")
	w.certified(good, "/token", "grant_type", provider.GrantCIBA).want(t, 401, "invalid_client")
	w.certified(good, "/backchannel-authentication", "client_id", "poster", "client_secret", secret1, "scope", "openid", "login_hint", "bob").want(t, 200, "")

	w.clock.advance(184 * 24 * time.Hour)
	w.startCertified(good, "tls").want(t, 401, "invalid_client")
}

// The listener may have to have verified a certificate, too: what it has only asked for
// is not enough then, nor is what it has verified by other authorities (threats B26,
// REG-27586).
func TestListenerVerifiesClients(t *testing.T) {
	root, foreign := issue(t, nil, authority("root")), issue(t, nil, authority("system"))
	good, other, strange := issue(t, root, nil), issue(t, root, nil), issue(t, foreign, nil)
	w := newWorld(t, func(c *provider.Config) {
		c.ListenerVerifiesClients, c.ClientRoots = true, poolOf(root)
		c.Clients = append(c.Clients, provider.Client{ID: "tls", AuthMethod: provider.AuthTLS, CertificateSubject: provider.CertificateSubject{DN: "CN=client,O=Example Bank,C=DE"}})
	})
	for _, c := range []struct {
		shown  *identity
		chains [][]*x509.Certificate
		status int
	}{
		{good, nil, 401}, {good, [][]*x509.Certificate{{}}, 401}, {good, [][]*x509.Certificate{{other.Certificate, root.Certificate}}, 401},
		{good, [][]*x509.Certificate{{good.Certificate, root.Certificate}}, 200},
		{strange, [][]*x509.Certificate{{strange.Certificate, foreign.Certificate}}, 401},
	} {
		r := postRequest("/backchannel-authentication", "client_id=tls&scope=openid&login_hint=bob")
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.shown.Certificate}, VerifiedChains: c.chains}
		a := w.do(r)
		if a.status != c.status {
			t.Errorf("%d chains: %d %s", len(c.chains), a.status, a.raw)
		}
	}
}

// RFC 8705 section 2.2; CIBA checklist A2; threats B26
func TestSelfSignedTLSClientAuth(t *testing.T) {
	now := newClock().Now()
	first, second := issue(t, nil, nil), issue(t, nil, nil)
	expired := issue(t, nil, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })
	// The same key and name in another certificate is another certificate.
	twin := issue(t, nil, nil)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: now.Add(time.Hour)}, &x509.Certificate{}, first.key.Public(), first.key)
	if err != nil {
		t.Fatal(err)
	}
	twin.Certificate, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	early := issue(t, nil, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) })
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.Clients = append(c.Clients,
			provider.Client{ID: "own", AuthMethod: provider.AuthSelfSignedTLS, JWKS: x5c(t, first, second, expired, early)},
			provider.Client{ID: "own2", AuthMethod: provider.AuthSelfSignedTLS, JWKS: x5c(t, issue(t, nil, nil))},
		)
	})
	w.startCertified(first, "own").want(t, 200, "")
	w.startCertified(second, "own").want(t, 200, "") // while certificates are changed there are two
	for name, id := range map[string]*identity{"none": nil, "unknown": issue(t, nil, nil), "expired": expired, "early": early, "twin": twin} {
		a := w.startCertified(id, "own")
		if a.status != 401 || a.str("error") != "invalid_client" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	w.startCertified(first, "own2").want(t, 401, "invalid_client")
}

func TestTLSConfigIsChecked(t *testing.T) {
	root, own := issue(t, nil, authority("root")), issue(t, nil, nil)
	base := newWorld(t, nil).cfg
	tlsClient := func(s provider.CertificateSubject) []provider.Client {
		return []provider.Client{{ID: "tls", AuthMethod: provider.AuthTLS, CertificateSubject: s}}
	}
	dn := provider.CertificateSubject{DN: "CN=a"}
	cases := []struct {
		want   string
		change func(*provider.Config)
	}{
		{"needs a certificate authority", func(c *provider.Config) { c.Clients, c.ClientRoots = tlsClient(dn), nil }}, // threats REG-27586
		{"is empty", func(c *provider.Config) { c.Clients, c.ClientRoots = tlsClient(dn), x509.NewCertPool() }},       // threats REG-27586
		{"verified again", func(c *provider.Config) { c.ListenerVerifiesClients, c.ClientRoots = true, nil }},
		{"exactly one name", func(c *provider.Config) { c.Clients = tlsClient(provider.CertificateSubject{}) }},
		{"exactly one name", func(c *provider.Config) { c.Clients = tlsClient(provider.CertificateSubject{DN: "CN=a", DNS: "a"}) }},
		{"subject DN", func(c *provider.Config) { c.Clients = tlsClient(provider.CertificateSubject{DN: "CN = a"}) }},
		{"not a DNS name", func(c *provider.Config) { c.Clients = tlsClient(provider.CertificateSubject{DNS: "*.example.com"}) }},
		{"not an absolute URI", func(c *provider.Config) { c.Clients = tlsClient(provider.CertificateSubject{URI: "client"}) }},
		{"not an IP address", func(c *provider.Config) { c.Clients = tlsClient(provider.CertificateSubject{IP: "192.0.2.0/24"}) }},
		{"not an e-mail address", func(c *provider.Config) { c.Clients = tlsClient(provider.CertificateSubject{Email: "ops@"}) }},
		{"x5c", func(c *provider.Config) {
			c.Clients = []provider.Client{{ID: "own", AuthMethod: provider.AuthSelfSignedTLS, JWKS: newES256(t, "k").jwks(t)}}
		}},
		{"base URL", func(c *provider.Config) { c.MTLSBaseURL = "mtls.example.com" }},
		{"path of the issuer", func(c *provider.Config) { c.MTLSBaseURL = "https://mtls.example.com/other" }},
		{"must be https", func(c *provider.Config) { c.MTLSBaseURL = "http://localhost:1" }},
		{"demands signed requests, and a JWKS", func(c *provider.Config) {
			c.Profile = provider.ProfileFAPICIBA
			c.Clients = tlsClient(dn)
			c.Clients[0].CertificateBound = true
		}},
		{"demands tokens that are bound", func(c *provider.Config) {
			c.Profile = provider.ProfileFAPICIBA
			c.Clients = []provider.Client{{ID: "own", AuthMethod: provider.AuthSelfSignedTLS, JWKS: x5c(t, own)}}
		}},
	}
	for _, c := range cases {
		cfg := base
		cfg.Clients = slices.Clone(base.Clients)
		cfg.ClientRoots = poolOf(root)
		c.change(&cfg)
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// CIBA checklist D6: methods and aliases are published where they are possible.
func TestTLSDiscovery(t *testing.T) {
	root := issue(t, nil, authority("root"))
	const aliasURL = "https://mtls.example.com"
	list := func(w *world, name string) string {
		var got []string
		for _, v := range w.get("/.well-known/openid-configuration").body[name].([]any) {
			got = append(got, v.(string))
		}
		return strings.Join(got, " ")
	}
	w := newWorld(t, nil)
	a := w.get("/.well-known/openid-configuration")
	if a.body["mtls_endpoint_aliases"] != nil || a.body["tls_client_certificate_bound_access_tokens"] != false {
		t.Errorf("without certificates: %s", a.raw)
	}
	w.cfg.MTLSBaseURL = aliasURL
	w.restart()
	if got := list(w, "token_endpoint_auth_methods_supported"); got != "client_secret_basic client_secret_post private_key_jwt self_signed_tls_client_auth" {
		t.Errorf("methods without an authority: %s", got)
	}
	w.cfg.ClientRoots = poolOf(root)
	w.restart()
	if got := list(w, "revocation_endpoint_auth_methods_supported"); !strings.Contains(got, " tls_client_auth self_signed_tls_client_auth") {
		t.Errorf("methods: %s", got)
	}
	a = w.get("/.well-known/openid-configuration")
	aliases, _ := a.body["mtls_endpoint_aliases"].(map[string]any)
	if len(aliases) != 5 || a.body["tls_client_certificate_bound_access_tokens"] != true {
		t.Errorf("aliases: %v", aliases)
	}
	for name, value := range aliases {
		if a.str(name) == "" || value != strings.Replace(a.str(name), issuer, aliasURL, 1) {
			t.Errorf("%s is %v, and %q at the top", name, value, a.str(name))
		}
	}
	w.cfg.Profile = provider.ProfileFAPICIBA
	w.cfg.Clients = nil
	w.restart()
	if got := list(w, "token_endpoint_auth_methods_supported"); got != "private_key_jwt tls_client_auth self_signed_tls_client_auth" {
		t.Errorf("methods of the profile: %s", got)
	}
	if got := list(w, "token_endpoint_auth_signing_alg_values_supported"); got != "ES256 PS256 EdDSA" {
		t.Errorf("algorithms of the profile: %s", got)
	}
}

// Assertions and proofs may name the aliases.
func TestAliasesAsAudience(t *testing.T) {
	key := newES256(t, "k")
	w := newWorld(t, func(c *provider.Config) {
		c.MTLSBaseURL = "https://mtls.example.com"
		c.Clients = append(c.Clients, provider.Client{ID: "jwt", AuthMethod: provider.AuthPrivateKeyJWT, JWKS: key.jwks(t)})
	})
	now := w.clock.Now().Unix()
	for audience, status := range map[string]int{
		"https://mtls.example.com/token": 200, "https://mtls.example.com/backchannel-authentication": 200, "https://mtls.example.com": 401,
	} {
		claims := map[string]any{"iss": "jwt", "sub": "jwt", "aud": audience, "exp": now + 60, "jti": audience}
		a := w.assert(key.sign(t, claims, nil))
		if a.status != status {
			t.Errorf("%s: %d %s", audience, a.status, a.raw)
		}
	}
	proof := newProver(t)
	authReqID, id := w.start()
	w.mustApprove(id)
	evil := proof.proof(w, "/token", map[string]any{"htu": "https://evil.example.com/token"}, nil)
	w.redeemWith([]string{evil}, nil, authReqID).want(t, 400, "invalid_dpop_proof")
	alias := proof.proof(w, "/token", map[string]any{"htu": "https://mtls.example.com/token"}, nil)
	w.redeemWith([]string{alias}, nil, authReqID).want(t, 200, "")
}

// Over real TLS, with a listener that asks for certificates and verifies none: what
// one client has is bound to its certificate and of no use to the other.
func TestTLSClientAuthOverTLS(t *testing.T) {
	root := issue(t, nil, authority("root"))
	mine, other := issue(t, root, nil), issue(t, nil, nil)
	w := newWorld(t, func(c *provider.Config) {
		c.ClientRoots = poolOf(root)
		c.Clients = append(c.Clients,
			provider.Client{ID: "tls", AuthMethod: provider.AuthTLS, CertificateSubject: provider.CertificateSubject{DN: "CN=client,O=Example Bank,C=DE"}, CertificateBound: true},
			provider.Client{ID: "own", AuthMethod: provider.AuthSelfSignedTLS, JWKS: x5c(t, other), CertificateBound: true},
		)
	})
	server := httptest.NewUnstartedServer(w)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	post := func(id *identity, path string, params ...string) *answer {
		transport := server.Client().Transport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		if id != nil {
			transport.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{id.Raw}, PrivateKey: id.key}}
		}
		response, err := (&http.Client{Transport: transport}).PostForm(server.URL+path, form(params...))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		a := &answer{status: response.StatusCode}
		err = json.NewDecoder(response.Body).Decode(&a.body)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	started := post(mine, "/backchannel-authentication", "client_id", "tls", "scope", "openid", "login_hint", "alice")
	started.want(t, 200, "")
	post(nil, "/backchannel-authentication", "client_id", "tls", "scope", "openid", "login_hint", "alice").want(t, 401, "invalid_client")
	post(other, "/backchannel-authentication", "client_id", "tls", "scope", "openid", "login_hint", "alice").want(t, 401, "invalid_client")
	approval := w.approval(hashOf(started.str("auth_req_id")))
	approval.Scopes = []string{"openid"}
	err := w.Approve(t.Context(), approval)
	if err != nil {
		t.Fatal(err)
	}
	redeem := func(id *identity, client string) *answer {
		return post(id, "/token", "client_id", client, "grant_type", provider.GrantCIBA, "auth_req_id", started.str("auth_req_id"))
	}
	redeem(other, "tls").want(t, 401, "invalid_client") // threats T15
	redeem(other, "own").want(t, 400, "invalid_grant")
	tokens := redeem(mine, "tls")
	tokens.want(t, 200, "")
	cnf, _ := decodeClaims(t, tokens.str("access_token"))["cnf"].(map[string]any)
	if cnf["x5t#S256"] != hashOf(string(mine.Raw)) {
		t.Errorf("cnf %v", cnf)
	}
}
