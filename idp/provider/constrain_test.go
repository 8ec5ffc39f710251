package provider_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// prover makes DPoP proofs.
type prover struct {
	signer
	serial int
}

func newProver(t *testing.T) *prover { return &prover{signer: newES256(t, "")} }

func (k *prover) public() jose.JSONWebKey {
	jwk := jose.JSONWebKey{Key: k.key}
	return jwk.Public()
}

func (k *prover) proof(w *world, path string, change map[string]any, headers map[jose.HeaderKey]any) string {
	w.t.Helper()
	k.serial++
	claims := map[string]any{"jti": "proof-" + strconv.Itoa(k.serial), "htm": "POST", "htu": issuer + path, "iat": w.clock.Now().Unix()}
	for name, value := range change {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	all := map[jose.HeaderKey]any{"typ": "dpop+jwt", "jwk": k.public()}
	for name, value := range headers {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return k.sign(w.t, claims, all)
}

// with sends a form with proofs and a certificate.
func (w *world) with(proofs []string, cert *x509.Certificate, path string, params ...string) *answer {
	w.t.Helper()
	r := postRequest(path, form(params...).Encode())
	r.SetBasicAuth("gateway", url.QueryEscape(secret1))
	r.Header["Dpop"] = proofs
	if len(proofs) == 0 {
		r.Header.Del("Dpop")
	}
	if cert != nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	}
	return w.do(r)
}

func (w *world) redeemWith(proofs []string, cert *x509.Certificate, authReqID string) *answer {
	w.t.Helper()
	return w.with(proofs, cert, "/token", "grant_type", provider.GrantCIBA, "auth_req_id", authReqID)
}

// RFC 9449; CIBA checklist T10; threats T15. What is refused is in testdata/badinput.
func TestDPoP(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.Clients[0].GrantTypes = []string{provider.GrantCIBA, provider.GrantRefresh}
	})
	key, other := newProver(t), newProver(t)
	type m = map[string]any
	authReqID, id := w.start()
	w.mustApprove(id)
	once := key.proof(w, "/token", nil, nil)
	tokens := w.redeemWith([]string{once}, nil, authReqID)
	tokens.want(t, 200, "")
	cnf, _ := decodeClaims(t, tokens.str("access_token"))["cnf"].(map[string]any)
	if tokens.str("token_type") != "DPoP" || cnf["jkt"] == nil {
		t.Errorf("token response: %s, cnf %v", tokens.raw, cnf)
	}
	w.redeemWith([]string{once}, nil, authReqID).want(t, 400, "invalid_dpop_proof") // replayed

	ath := m{"htm": "GET", "ath": hashOf(tokens.str("access_token"))}
	info := func(scheme, proof string) *answer {
		r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
		r.Header.Set("Authorization", scheme+" "+tokens.str("access_token"))
		if proof != "" {
			r.Header.Set("DPoP", proof)
		}
		return w.do(r)
	}
	info("DPoP", key.proof(w, "/userinfo", ath, nil)).want(t, 200, "")
	info("DPoP", other.proof(w, "/userinfo", ath, nil)).want(t, 401, "invalid_token")
	info("Bearer", key.proof(w, "/userinfo", ath, nil)).want(t, 401, "invalid_token")
	info("DPoP", key.proof(w, "/userinfo", m{"htm": "GET", "ath": hashOf("x")}, nil)).want(t, 401, "invalid_dpop_proof")
	info("DPoP", "").want(t, 401, "invalid_dpop_proof")
	a := w.post("gateway", "/introspect", "token", tokens.str("access_token"))
	if a.str("token_type") != "DPoP" || a.body["cnf"] == nil {
		t.Errorf("introspection: %s", a.raw)
	}
	refreshed := w.with([]string{key.proof(w, "/token", nil, nil)}, nil, "/token", "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
	refreshed.want(t, 200, "")
	if refreshed.str("token_type") != "DPoP" {
		t.Errorf("refreshed: %s", refreshed.raw)
	}

	// A key that is shown at the start must be shown again.
	a = w.with([]string{key.proof(w, "/backchannel-authentication", nil, nil)}, nil, "/backchannel-authentication", "scope", "openid", "login_hint", "alice")
	a.want(t, 200, "")
	approval := w.approval(hashOf(a.str("auth_req_id")))
	approval.Scopes = []string{"openid"}
	err := w.Approve(t.Context(), approval)
	if err != nil {
		t.Fatal(err)
	}
	w.redeemWith([]string{other.proof(w, "/token", nil, nil)}, nil, a.str("auth_req_id")).want(t, 400, "invalid_grant")
	w.redeemWith(nil, nil, a.str("auth_req_id")).want(t, 400, "invalid_grant")
	w.redeemWith([]string{key.proof(w, "/token", m{"htu": "HTTPS://ID.example.com:443/token?x#y"}, nil)}, nil, a.str("auth_req_id")).want(t, 200, "")

	w.cfg.Clients[0].DPoPBound = true
	w.restart()
	authReqID, id = w.start()
	w.mustApprove(id)
	w.redeemWith(nil, nil, authReqID).want(t, 400, "invalid_dpop_proof")
	w.redeemWith([]string{key.proof(w, "/token", nil, nil)}, nil, authReqID).want(t, 200, "")
}

// RFC 8705 section 3; CIBA checklist T10; threats T15
func TestCertificateBoundTokens(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.Clients[0].CertificateBound = true })
	mine, foreign := &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("foreign")}
	authReqID, id := w.start()
	w.mustApprove(id)
	w.redeemWith(nil, nil, authReqID).want(t, 400, "invalid_request")
	tokens := w.redeemWith(nil, mine, authReqID)
	tokens.want(t, 200, "")
	cnf, _ := decodeClaims(t, tokens.str("access_token"))["cnf"].(map[string]any)
	if tokens.str("token_type") != "Bearer" || cnf["x5t#S256"] != hashOf("mine") {
		t.Errorf("cnf %v", cnf)
	}
	info := func(cert *x509.Certificate) *answer {
		r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
		r.Header.Set("Authorization", "Bearer "+tokens.str("access_token"))
		if cert != nil {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		} else {
			r.TLS = nil
		}
		return w.do(r)
	}
	info(mine).want(t, 200, "")
	info(foreign).want(t, 401, "invalid_token")
	info(nil).want(t, 401, "invalid_token")

	a := w.with(nil, mine, "/backchannel-authentication", "scope", "openid", "login_hint", "alice")
	a.want(t, 200, "")
	approval := w.approval(hashOf(a.str("auth_req_id")))
	approval.Scopes = []string{"openid"}
	err := w.Approve(t.Context(), approval)
	if err != nil {
		t.Fatal(err)
	}
	w.redeemWith(nil, foreign, a.str("auth_req_id")).want(t, 400, "invalid_grant")
	w.redeemWith(nil, mine, a.str("auth_req_id")).want(t, 200, "")
}

// CIBA checklist F8, T10: with the profile, proofs are signed by its algorithms only.
func TestProofAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := newES256(t, "k")
	for profile, want := range map[string]int{"": 200, provider.ProfileFAPICIBA: 400} {
		w := newWorld(t, func(c *provider.Config) {
			c.Clients = []provider.Client{{ID: "jwt", AuthMethod: provider.AuthPrivateKeyJWT, JWKS: key.jwks(t), DPoPBound: true}}
			c.Profile = profile
		})
		now := w.clock.Now().Unix()
		send := func(alg jose.SignatureAlgorithm, path string, params ...string) *answer {
			proofKey := &prover{signer: signer{alg: alg, key: rsaKey}}
			assertion := key.sign(t, map[string]any{"iss": "jwt", "sub": "jwt", "aud": issuer, "exp": now + 60, "iat": now, "jti": string(alg) + path}, nil)
			values := form(append(params, "client_assertion_type", assertionType, "client_assertion", assertion)...)
			r := postRequest(path, values.Encode())
			r.Header.Set("DPoP", proofKey.proof(w, path, map[string]any{"jti": string(alg) + path}, nil))
			return w.do(r)
		}
		object := key.sign(t, map[string]any{
			"iss": "jwt", "aud": issuer, "exp": now + 60, "iat": now, "nbf": now, "jti": "r",
			"scope": "openid", "login_hint": "alice", "binding_message": "1234",
		}, nil)
		a := send(jose.PS256, backchannel, "request", object)
		a.want(t, 200, "")
		approval := w.approval(hashOf(a.str("auth_req_id")))
		approval.Scopes = []string{"openid"}
		err := w.Approve(t.Context(), approval)
		if err != nil {
			t.Fatal(err)
		}
		redeem := []string{"grant_type", provider.GrantCIBA, "auth_req_id", a.str("auth_req_id")}
		a = send(jose.RS256, "/token", redeem...)
		if a.status != want {
			t.Errorf("profile %q: %d %s", profile, a.status, a.raw)
		}
		if want == 400 {
			a.want(t, 400, "invalid_dpop_proof")
			send(jose.PS256, "/token", redeem...).want(t, 200, "")
		}
	}
}
