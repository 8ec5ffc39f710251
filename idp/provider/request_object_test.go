package provider_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// signedWorld has a client "signed" that must sign its requests with the key of the
// forger.
func signedWorld(t *testing.T, f *forger, change func(*provider.Client)) *world {
	t.Helper()
	keys := json.RawMessage(`{"keys":[` + strings.Replace(f.jwks(t)["own"], "{", `{"kid":"k1",`, 1) + `]}`)
	return newWorld(t, func(c *provider.Config) {
		client := provider.Client{
			ID: "signed", JWKS: keys, RequireSignedRequests: true, Scopes: []string{"profile"},
			SecretHashes: []provider.SecretHash{provider.HashSecret(secret1)},
		}
		if change != nil {
			change(&client)
		}
		c.Clients = append(c.Clients, client)
	})
}

// goodRequest is a request of the client "signed".
func goodRequest(w *world) *badJWT {
	now := w.clock.Now().Unix()
	seconds := strconv.FormatInt(now, 10)
	return &badJWT{
		header: members("alg", `"ES256"`, "kid", `"k1"`),
		claims: members("iss", `"signed"`, "aud", strconv.Quote(issuer), "jti", `"j"`, "iat", seconds, "nbf", seconds,
			"exp", strconv.FormatInt(now+300, 10), "scope", `"openid profile"`, "login_hint", `"alice"`, "binding_message", `"1234"`),
		params: url.Values{}, status: http.StatusBadRequest, code: "invalid_request",
	}
}

// requestParameters are the parameters of a request: the signed request, or its claims.
func (w *world) requestParameters(f *forger, b *badJWT) url.Values {
	w.t.Helper()
	params := url.Values{}
	for name, values := range b.params {
		params[name] = values
	}
	if !b.unsigned {
		params.Set("request", f.compact(w.t.(*testing.T), b))
		return params
	}
	for name, raw := range b.claims {
		var text string
		err := json.Unmarshal(raw, &text)
		if err == nil && name != "iss" && name != "aud" && name != "jti" {
			params.Set(name, text)
		}
	}
	return params
}

// sendRequest sends a signed request.
func (w *world) sendRequest(f *forger, b *badJWT) *answer {
	w.t.Helper()
	r := postRequest(backchannel, w.requestParameters(f, b).Encode())
	r.SetBasicAuth("signed", secret1)
	return w.do(r)
}

// CIBA checklist S1, S2, S3, S4, S5, S6, S7, S8, A12; threats B46, B55 to B61
func TestSignedRequests(t *testing.T) {
	f := newForger(t)
	jwks := f.jwks(t)
	for _, c := range readBadInputs(t, "request.txt") {
		t.Run(c.name, func(t *testing.T) {
			w := signedWorld(t, f, nil)
			b := goodRequest(w)
			for _, line := range c.lines {
				b.apply(t, line, w.clock.Now(), jwks)
			}
			before, at := 0, w
			if b.twice != "" {
				w.sendRequest(f, b).want(t, 200, "")
				before = 1
			}
			if b.twice == "twice at another node" {
				at = w.secondNode()
			}
			a := at.sendRequest(f, b)
			a.want(t, b.status, b.code)
			checkErrorAnswer(t, a)
			if b.expiresIn != "" && fmt.Sprint(a.body["expires_in"]) != b.expiresIn {
				t.Errorf("expires_in: %s", a.raw)
			}
			pending, err := w.Pending(t.Context(), "sub-alice")
			if err != nil || (len(pending) > before) != (b.status == http.StatusOK) {
				t.Errorf("pending %d, %v", len(pending), err)
			}
		})
	}
}

// CIBA checklist C3, S1: a client with an algorithm sends no others, and nothing
// unsigned.
func TestRequestSigningAlg(t *testing.T) {
	f := newForger(t)
	for alg, status := range map[string]int{"ES256": 200, "PS256": 400} {
		w := signedWorld(t, f, func(c *provider.Client) { c.RequireSignedRequests, c.RequestSigningAlg = false, alg })
		a := w.sendRequest(f, goodRequest(w))
		if a.status != status {
			t.Errorf("%s: %d %s", alg, a.status, a.raw)
		}
		w.post("signed", backchannel, "scope", "openid", "login_hint", "alice").want(t, 400, "invalid_request")
	}
	w := signedWorld(t, f, nil)
	cfg := w.cfg
	for _, alg := range []string{"none", "HS256"} {
		cfg.Clients[len(cfg.Clients)-1].RequestSigningAlg = alg
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), "unknown signing algorithm") {
			t.Errorf("%s: %v", alg, err)
		}
	}
	// A client without keys can't send signed requests.
	r := postRequest(backchannel, "request="+newES256(t, "k").sign(t, map[string]any{"iss": "gateway"}, map[jose.HeaderKey]any{}))
	r.SetBasicAuth("gateway", secret1)
	w.do(r).want(t, 400, "invalid_request")
}

// CIBA checklist S4: also without anything outside, what a signed request leaves out
// is not there.
func TestRequestStandsAlone(t *testing.T) {
	f := newForger(t)
	w := signedWorld(t, f, nil)
	b := goodRequest(w)
	delete(b.claims, "scope")
	b.params.Set("scope", "openid")
	w.sendRequest(f, b).want(t, 400, "invalid_request")
}
