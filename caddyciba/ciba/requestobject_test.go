package ciba

import (
	"encoding/json"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// signing returns a provider that takes signed requests.
func signing(op *fakeOP, algs ...string) map[string]any {
	md := op.metadata()
	md["backchannel_authentication_request_signing_alg_values_supported"] = algs
	return md
}

// All parameters are inside of the signed request, and nothing but the client's
// proof stands beside it. CIBA checklist S1, S2, S3, S4
func TestSignedRequest(t *testing.T) {
	for alg, key := range signingKeys(t) {
		t.Run(alg, func(t *testing.T) {
			jwk := &jose.JSONWebKey{Key: key, KeyID: "request-key"}
			c, op := newTestClient(t, func(cfg *Config) {
				cfg.Auth, cfg.RequestKey, cfg.Delivery = ClientSecretPost("s3cret"), jwk, DeliveryPing
			})
			md := signing(op, alg)
			md["backchannel_token_delivery_modes_supported"] = []string{"poll", "ping"}
			op.on("/.well-known/openid-configuration", sends(200, md))
			p, err := c.Start(t.Context(), Request{
				LoginHint: "alice", Scope: []string{"openid", "accounts"}, BindingMessage: "W4SCT", RequestedExpiry: 90 * time.Second,
				AuthorizationDetails: json.RawMessage(`[{"type":"wire_transfer"}]`), ACRValues: []string{"phr"},
				Extra: url.Values{"resource": {"https://a", "https://b"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			form := op.seen("/backchannel")[0].form
			if len(form) != 3 || form.Get("client_id") != testClient || form.Get("client_secret") != "s3cret" {
				t.Errorf("form %v", form)
			}
			header, claims := readAssertion(t, form.Get("request"), key)
			if header.Algorithm != alg || header.KeyID != "request-key" || header.ExtraHeaders["typ"] != "oauth-authz-req+jwt" {
				t.Errorf("header %+v", header)
			}
			now := float64(time.Now().Unix())
			iat, exp, nbf := claims["iat"].(float64), claims["exp"].(float64), claims["nbf"].(float64)
			if now-iat > 5 || exp-iat != 300 || iat-nbf != 10 || len(claims["jti"].(string)) < 22 {
				t.Errorf("claims %v", claims)
			}
			for _, name := range []string{"iat", "exp", "nbf", "jti"} {
				delete(claims, name)
			}
			want := map[string]any{
				"iss": testClient, "aud": op.issuer, "scope": "openid accounts", "login_hint": "alice",
				"binding_message": "W4SCT", "requested_expiry": 90.0, "acr_values": "phr",
				"authorization_details":     []any{map[string]any{"type": "wire_transfer"}},
				"resource":                  []any{"https://a", "https://b"},
				"client_notification_token": p.NotificationToken,
			}
			if !reflect.DeepEqual(claims, want) {
				t.Errorf("claims %v, want %v", claims, want)
			}
		})
	}
}

func TestSignedRequestRefusals(t *testing.T) {
	signed := func(cfg *Config) { cfg.RequestKey = &testKey }
	for name, algs := range map[string][]string{"none taken": nil, "others taken": {"PS256"}} {
		c, op := newTestClient(t, signed)
		op.on("/.well-known/openid-configuration", sends(200, signing(op, algs...)))
		_, err := c.Start(t.Context(), Request{LoginHint: "alice"})
		if !IsUnsupported(err) || len(op.seen("/backchannel")) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"iss", "aud", "exp", "sub", "jti"} {
		c, op := newTestClient(t, signed)
		op.on("/.well-known/openid-configuration", sends(200, signing(op, "ES256")))
		_, err := c.Start(t.Context(), Request{LoginHint: "alice", Extra: url.Values{name: {"x"}}})
		wantCode(t, err, CodeInvalidArgument)
	}
	public := testKey.Public()
	_, err := NewClient(Config{
		Issuer: "https://id.example.com", ClientID: "c", Auth: ClientSecretBasic("s"), RequestKey: &public,
	})
	if err == nil {
		t.Error("a public key is accepted")
	}
}
