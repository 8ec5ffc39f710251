package provider_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist F1, F2, F3, F4, F5, F6, F7, F8, S1, S3, S8; threats B13, B43, B56, B57
func TestFAPIProfile(t *testing.T) {
	key := newES256(t, "ec")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ps256 := signer{alg: jose.PS256, key: rsaKey, kid: "rsa"}
	rs256 := signer{alg: jose.RS256, key: rsaKey, kid: "rsa"}
	var ec, rs jose.JSONWebKeySet
	for set, raw := range map[*jose.JSONWebKeySet]json.RawMessage{&ec: key.jwks(t), &rs: ps256.jwks(t)} {
		err := json.Unmarshal(raw, set)
		if err != nil {
			t.Fatal(err)
		}
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: append(ec.Keys, rs.Keys...)})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.Profile, c.ACRValues = provider.ProfileFAPICIBA, []string{"phr"}
		c.HintIssuers = []provider.HintIssuer{{Issuer: "https://crm.example", JWKS: key.jwks(t), Claim: "sub", BySubject: true}}
		c.Clients = []provider.Client{{ID: "jwt", AuthMethod: provider.AuthPrivateKeyJWT, JWKS: jwks, CertificateBound: true}}
	})
	now := w.clock.Now().Unix()
	serial := 0
	send := func(assertion, request signer, change map[string]any, params ...string) *answer {
		serial++
		claims := map[string]any{"iss": "jwt", "sub": "jwt", "aud": issuer, "exp": now + 60, "iat": now, "jti": "a" + strconv.Itoa(serial)}
		object := map[string]any{
			"iss": "jwt", "aud": issuer, "exp": now + 60, "iat": now, "nbf": now, "jti": "r" + strconv.Itoa(serial),
			"scope": "openid", "login_hint": "alice", "binding_message": "1234",
		}
		for name, value := range change {
			object[name] = value
			if value == nil {
				delete(object, name)
			}
		}
		values := form("client_assertion_type", assertionType, "client_assertion", assertion.sign(t, claims, nil))
		if request.key != nil {
			values.Set("request", request.sign(t, object, nil))
		}
		for i := 0; i < len(params); i += 2 {
			values.Set(params[i], params[i+1])
		}
		return w.do(postRequest("/backchannel-authentication", values.Encode()))
	}
	send(key, key, nil).want(t, 200, "")
	send(ps256, ps256, nil).want(t, 200, "")
	send(rs256, ps256, nil).want(t, 401, "invalid_client")
	send(ps256, rs256, nil).want(t, 400, "invalid_request")
	send(key, signer{}, nil, "scope", "openid", "login_hint", "alice", "binding_message", "1").want(t, 400, "invalid_request")
	send(key, key, map[string]any{"binding_message": nil}).want(t, 400, "invalid_binding_message")
	send(key, key, map[string]any{"binding_message": nil, "login_hint_token": "x"}).want(t, 400, "invalid_request")
	send(key, key, map[string]any{"binding_message": nil, "authorization_details": []map[string]string{
		{"type": "http_request", "method": "POST", "host": "x", "target": "/"},
	}}).want(t, 200, "")

	// F5, S3: they are short-lived.
	send(key, key, map[string]any{"exp": now + 4200}).want(t, 400, "invalid_request")
	send(key, key, map[string]any{"nbf": now - 4200}).want(t, 400, "invalid_request")
	// F3: there is poll and ping.
	metadata := w.get("/.well-known/openid-configuration").body
	if fmt.Sprint(metadata["backchannel_token_delivery_modes_supported"]) != "[poll ping]" {
		t.Errorf("delivery modes %v", metadata["backchannel_token_delivery_modes_supported"])
	}
	// F8: what is published is what is taken, and nothing is encrypted.
	for name, value := range metadata {
		list := fmt.Sprint(value)
		if strings.HasSuffix(name, "_alg_values_supported") && list != "[ES256 PS256 EdDSA]" && list != "[ES256]" || strings.Contains(name, "encryption") {
			t.Errorf("%s: %s", name, list)
		}
	}
	// F6: the context class that was asked for is told. F7: a signed hint need not be
	// a name.
	hintToken := key.sign(t, map[string]any{"iss": "https://crm.example", "aud": issuer, "exp": now + 60, "sub": "sub-alice"}, nil)
	a := send(key, key, map[string]any{"login_hint": nil, "login_hint_token": hintToken, "acr_values": "phr"})
	a.want(t, 200, "")
	approval := w.approval(hashOf(a.str("auth_req_id")))
	approval.Scopes = []string{"openid"}
	wantErr(t, w.Approve(t.Context(), approval), provider.ErrACR)
	approval.ACR = "phr"
	err = w.Approve(t.Context(), approval)
	if err != nil {
		t.Fatal(err)
	}
	idToken := w.redeemFAPI(key, a.str("auth_req_id")).str("id_token")
	if decodeClaims(t, idToken)["acr"] != "phr" {
		t.Errorf("ID Token %v", decodeClaims(t, idToken))
	}
	send(key, key, map[string]any{"login_hint": nil, "id_token_hint": idToken}).want(t, 200, "")

	for want, change := range map[string]func(*provider.Config){
		"the profile does not allow push": func(c *provider.Config) {
			c.Clients[0].DeliveryMode, c.Clients[0].NotificationEndpoint = provider.DeliveryPush, "https://rp.example.com/cb"
			c.Clients[0].CertificateBound = false
		},
		"demands signed requests": func(c *provider.Config) {
			c.ClientRoots = poolOf(issue(t, nil, authority("root")))
			c.Clients[0].AuthMethod, c.Clients[0].JWKS = provider.AuthTLS, nil
			c.Clients[0].CertificateSubject = provider.CertificateSubject{DNS: "rp.example.com"}
		},
		"demands private_key_jwt": func(c *provider.Config) {
			c.Clients[0].AuthMethod = provider.AuthSecretBasic
			c.Clients[0].SecretHashes = []provider.SecretHash{provider.HashSecret(secret1)}
		},
		"demands tokens that are bound": func(c *provider.Config) { c.Clients[0].CertificateBound = false },
		"does not allow RS256":          func(c *provider.Config) { c.SigningAlgs = []string{"RS256"} },
		"unknown profile":               func(c *provider.Config) { c.Profile = "x" },
	} {
		cfg := w.cfg
		cfg.Clients = append([]provider.Client(nil), w.cfg.Clients...)
		change(&cfg)
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// redeemFAPI collects the tokens of the client "jwt", bound to a certificate.
func (w *world) redeemFAPI(key signer, authReqID string) *answer {
	w.t.Helper()
	now := w.clock.Now().Unix()
	assertion := key.sign(w.t, map[string]any{"iss": "jwt", "sub": "jwt", "aud": issuer, "exp": now + 60, "iat": now, "jti": "redeem"}, nil)
	r := postRequest("/token", form("grant_type", provider.GrantCIBA, "auth_req_id", authReqID,
		"client_assertion_type", assertionType, "client_assertion", assertion).Encode())
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{issue(w.t, nil, nil).Certificate}}
	a := w.do(r)
	a.want(w.t, 200, "")
	return a
}
