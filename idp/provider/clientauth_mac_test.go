package provider_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// OpenID Connect Core 1.0 section 9; CIBA checklist A2, D6; threats B11, B12, B13,
// B19, B20, B22
func TestClientSecretJWT(t *testing.T) {
	const long, short = "a-secret-of-sixty-four-bytes-and-more-for-hs512-0123456789abcdef", "a-secret-of-thirty-two-bytes-0001"
	key := newES256(t, "k1")
	mac := func(alg jose.SignatureAlgorithm, secret string) signer { return signer{alg: alg, key: []byte(secret)} }
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.Clients = append(c.Clients,
			provider.Client{ID: "mac", AuthMethod: provider.AuthSecretJWT, AssertionSecrets: []provider.AssertionSecret{long, short}},
			provider.Client{ID: "only384", AuthMethod: provider.AuthSecretJWT, AssertionSecrets: []provider.AssertionSecret{long}, AuthSigningAlg: "HS384"},
			provider.Client{
				ID: "jwt", AuthMethod: provider.AuthPrivateKeyJWT, JWKS: key.jwks(t),
				// A secret that the method does not use is none.
				AssertionSecrets: []provider.AssertionSecret{long}, SecretHashes: []provider.SecretHash{provider.HashSecret(long)},
			},
		)
	})
	now := w.clock.Now().Unix()
	serial := 0
	claims := func(id string) map[string]any {
		serial++
		return map[string]any{"iss": id, "sub": id, "aud": issuer, "exp": now + 60, "iat": now, "jti": strconv.Itoa(serial)}
	}
	for _, s := range []signer{mac(jose.HS256, long), mac(jose.HS384, long), mac(jose.HS512, long), mac(jose.HS256, short)} {
		a := w.assert(s.sign(t, claims("mac"), nil))
		if a.status != 200 {
			t.Errorf("%s: %d %s", s.alg, a.status, a.raw)
		}
	}
	w.assert(mac(jose.HS384, long).sign(t, claims("only384"), nil)).want(t, 200, "")
	w.assert(key.sign(t, claims("jwt"), nil)).want(t, 200, "")

	expired, foreign := claims("mac"), claims("mac")
	expired["exp"], foreign["aud"] = now-60, "https://other.example"
	tampered := mac(jose.HS256, long).sign(t, claims("mac"), nil)
	bad := map[string]string{
		"wrong secret":             mac(jose.HS256, strings.Repeat("x", 64)).sign(t, claims("mac"), nil),
		"another alg than fixed":   mac(jose.HS256, long).sign(t, claims("only384"), nil),
		"private key":              key.sign(t, claims("mac"), nil),
		"secret for private key":   mac(jose.HS256, long).sign(t, claims("jwt"), nil),
		"public key as the secret": mac(jose.HS256, string(key.jwks(t))).sign(t, claims("jwt"), nil),
		"secret of basic":          mac(jose.HS256, strings.Repeat(secret1, 2)).sign(t, claims("gateway"), nil),
		"another client's":         mac(jose.HS256, short).sign(t, claims("only384"), nil),
		"expired":                  mac(jose.HS256, long).sign(t, expired, nil),
		"for somebody else":        mac(jose.HS256, long).sign(t, foreign, nil),
		"none":                     segment(`{"alg":"none"}`) + tampered[strings.Index(tampered, "."):strings.LastIndex(tampered, ".")] + ".",
		"cut":                      tampered[:len(tampered)-4],
	}
	for name, assertion := range bad {
		a := w.assert(assertion)
		if a.status != 401 || a.str("error") != "invalid_client" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	once := mac(jose.HS256, long).sign(t, claims("mac"), nil)
	w.assert(once).want(t, 200, "")
	w.assert(once).want(t, 401, "invalid_client")
	w.post("mac", "/backchannel-authentication", "scope", "openid", "login_hint", "bob").want(t, 401, "invalid_client")

	list := func(name string) string {
		data, err := json.Marshal(w.get("/.well-known/openid-configuration").body[name])
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := list("token_endpoint_auth_methods_supported"); got != `["client_secret_basic","client_secret_post","private_key_jwt","client_secret_jwt"]` {
		t.Errorf("methods %s", got)
	}
	if got := list("token_endpoint_auth_signing_alg_values_supported"); got != `["ES256","PS256","EdDSA","RS256","HS256","HS384","HS512"]` {
		t.Errorf("algorithms %s", got)
	}
	if got := list("backchannel_authentication_request_signing_alg_values_supported"); strings.Contains(got, "HS") {
		t.Errorf("algorithms of requests %s", got)
	}
	if printed := fmt.Sprintf("%v %+v %#v", w.cfg.Clients, w.cfg.Clients, w.cfg.Clients); strings.Contains(printed, long) || !strings.Contains(printed, "[secret]") {
		t.Errorf("a client prints as %s", printed)
	}

	for _, c := range []struct {
		want   string
		client provider.Client
	}{
		{"an assertion secret is required", provider.Client{SecretHashes: []provider.SecretHash{provider.HashSecret(long)}}},
		{"too short", provider.Client{AssertionSecrets: []provider.AssertionSecret{"short"}}},
		{"too short", provider.Client{AssertionSecrets: []provider.AssertionSecret{long, short}, AuthSigningAlg: "HS512"}},
		{"is not an algorithm", provider.Client{AssertionSecrets: []provider.AssertionSecret{long}, AuthSigningAlg: "ES256"}},
		{"unknown signing algorithm", provider.Client{AssertionSecrets: []provider.AssertionSecret{long}, IDTokenSigningAlg: "HS256"}},
	} {
		cfg := w.cfg
		c.client.ID, c.client.AuthMethod = "mac", provider.AuthSecretJWT
		cfg.Clients = slices.Clone([]provider.Client{c.client})
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), long) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
