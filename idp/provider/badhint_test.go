package provider_test

import (
	"crypto/ecdsa"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// signingKeyOf returns the key with which the provider signs.
func signingKeyOf(t *testing.T, w *world) (*ecdsa.PrivateKey, string) {
	t.Helper()
	w.get("/jwks").want(t, 200, "")
	newest := w.keyRecord("ES256").Keys[0].JWK
	key, ok := newest.Key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key is %T", newest.Key)
	}
	return key, newest.KeyID
}

// playHint sends a hint that was changed as a case says, and looks at the answer.
func (w *world) playHint(t *testing.T, f *forger, c badInput, parameter string, b *badJWT) {
	t.Helper()
	b.params, b.status, b.code = url.Values{}, http.StatusBadRequest, "invalid_request"
	for _, line := range c.lines {
		b.apply(t, line, w.clock.Now(), f.jwks(t))
	}
	a := w.hint("gateway", parameter, f.compact(t, b))
	a.want(t, b.status, b.code)
	checkErrorAnswer(t, a)
	pending, err := w.Pending(t.Context(), "sub-alice")
	if err != nil || (len(pending) > 0) != (b.status == http.StatusOK) {
		t.Errorf("pending %d, %v", len(pending), err)
	}
}

// CIBA checklist A7; threats B34, B35
func TestBadIDTokenHints(t *testing.T) {
	f := newForger(t)
	for _, c := range readBadInputs(t, "id_token_hint.txt") {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			own := *f
			var kid string
			own.own, kid = signingKeyOf(t, w)
			now := w.clock.Now().Unix()
			w.playHint(t, &own, c, "id_token_hint", &badJWT{
				header: members("alg", `"ES256"`, "kid", strconv.Quote(kid)),
				claims: members("iss", strconv.Quote(issuer), "sub", `"sub-alice"`, "aud", `"gateway"`,
					"iat", strconv.FormatInt(now, 10), "exp", strconv.FormatInt(now+300, 10)),
			})
		})
	}
}

// CIBA checklist A8; threats B36
func TestBadLoginHintTokens(t *testing.T) {
	f := newForger(t)
	keys := json.RawMessage(`{"keys":[` + f.jwks(t)["own"] + `]}`)
	for _, c := range readBadInputs(t, "login_hint_token.txt") {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(c *provider.Config) {
				c.HintIssuers = []provider.HintIssuer{{Issuer: "https://directory.example", JWKS: keys, Claim: "login"}}
			})
			now := w.clock.Now().Unix()
			w.playHint(t, f, c, "login_hint_token", &badJWT{
				header: members("alg", `"ES256"`),
				claims: members("iss", `"https://directory.example"`, "login", `"alice"`, "aud", strconv.Quote(issuer),
					"iat", strconv.FormatInt(now, 10), "exp", strconv.FormatInt(now+60, 10)),
			})
		})
	}
}

// CIBA checklist F2, F4, F5; threats B43, B56, B57, B60
func TestBadFAPIRequests(t *testing.T) {
	f := newForger(t)
	own, rsa := f.jwks(t)["own"], jwk(t, f.rsa.Public())
	keys := json.RawMessage(`{"keys":[` + strings.Replace(own, "{", `{"kid":"k1",`, 1) + `,` + strings.Replace(rsa, "{", `{"kid":"rsa",`, 1) + `]}`)
	assertion := signer{alg: jose.ES256, key: f.own, kid: "k1"}
	for _, c := range readBadInputs(t, "fapi.txt") {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(c *provider.Config) {
				c.Profile = provider.ProfileFAPICIBA
				c.Clients = []provider.Client{{ID: "signed", AuthMethod: provider.AuthPrivateKeyJWT, JWKS: keys, CertificateBound: true, Scopes: []string{"profile"}}}
			})
			b := goodRequest(w)
			for _, line := range c.lines {
				b.apply(t, line, w.clock.Now(), nil)
			}
			now := w.clock.Now().Unix()
			b.params.Set("client_assertion_type", assertionType)
			b.params.Set("client_assertion", assertion.sign(t, map[string]any{"iss": "signed", "sub": "signed", "aud": issuer, "exp": now + 60, "iat": now, "jti": "a"}, nil))
			r := postRequest(backchannel, w.requestParameters(f, b).Encode())
			a := w.do(r)
			a.want(t, b.status, b.code)
			checkErrorAnswer(t, a)
		})
	}
}
