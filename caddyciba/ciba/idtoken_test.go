package ciba

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keys of the provider under attack: one ECDSA key for ES256, one RSA key for
// PS256, one RSA key without alg (the conformance suite's rsa-none-alt-arg), one
// Ed25519 key, and two that are for encryption.
type attackKeys struct {
	rsa, plainRSA, ed, encRSA, encEC, foreign jose.JSONWebKey
}

func newAttackKeys(t *testing.T) *attackKeys {
	t.Helper()
	newRSA := func(kid, alg, use string) jose.JSONWebKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: alg, Use: use}
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encEC := newECKey("enc-2")
	encEC.Use, encEC.Algorithm = "enc", "ECDH-ES"
	return &attackKeys{
		rsa:      newRSA("rsa-1", "PS256", "sig"),
		plainRSA: newRSA("rsa-none-alt-arg", "", ""),
		ed:       jose.JSONWebKey{Key: ed, KeyID: "ed-1", Use: "sig"},
		encRSA:   newRSA("enc-1", "RSA-OAEP", "enc"),
		encEC:    encEC,
		foreign:  newECKey("sig-1"),
	}
}

func (k *attackKeys) published() map[string]any {
	return map[string]any{"keys": []any{
		testKey.Public(), k.rsa.Public(), k.plainRSA.Public(), k.ed.Public(), k.encRSA.Public(), k.encEC.Public(),
	}}
}

// with returns a change of one claim.
func with(name string, value any) func(map[string]any) {
	return func(claims map[string]any) {
		if value == nil {
			delete(claims, name)
			return
		}
		claims[name] = value
	}
}

// raw builds a token from header and payload as they are, with a signature of
// the caller's.
func raw(header, payload string, sign func(string) []byte) string {
	input := encodeSegment([]byte(header)) + "." + encodeSegment([]byte(payload))
	return input + "." + encodeSegment(sign(input))
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Bad ID Tokens, R05 of the catalogue of bad inputs and T12 of the threats. Each
// one must leave the caller with nothing, and the provider with no further
// request.
func TestForgedIDTokens(t *testing.T) {
	keys := newAttackKeys(t)
	now := time.Now().Unix()
	_, op := newTestClient(t, nil)
	good := op.claims()
	claims := func(changes ...func(map[string]any)) map[string]any {
		c := maps.Clone(good)
		for _, change := range changes {
			change(c)
		}
		return c
	}
	sign := func(changes ...func(map[string]any)) string {
		return forge(testKey, "ES256", nil, claims(changes...))
	}
	head := func(name string, value any) string {
		return forge(testKey, "ES256", map[string]any{name: value}, good)
	}
	der, err := x509.MarshalPKIXPublicKey(keys.plainRSA.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte) func(string) []byte {
		return func(input string) []byte {
			h := hmac.New(sha256.New, key)
			h.Write([]byte(input))
			return h.Sum(nil)
		}
	}
	nothing := func(string) []byte { return nil }
	payload := encode(t, good)
	signed := sign()
	parts := strings.Split(signed, ".")
	otherPayload := strings.Split(sign(with("sub", "mallory")), ".")[1]

	forged := map[string]string{
		// The signature.
		"fapi-ciba-id1-client-invalid-null-alg-test": raw(`{"alg":"none","kid":"sig-1"}`, payload, nothing),
		"alg None":                                        raw(`{"alg":"None"}`, payload, nothing),
		"alg empty":                                       raw(`{"alg":""}`, payload, nothing),
		"alg missing":                                     raw(`{}`, payload, nothing),
		"HS256 with the public key as secret":             raw(`{"alg":"HS256","kid":"rsa-none-alt-arg"}`, payload, mac(der)),
		"HS256 with an empty secret":                      raw(`{"alg":"HS256"}`, payload, mac(nil)),
		"HS256 with the client secret":                    raw(`{"alg":"HS256"}`, payload, mac([]byte("s3cret"))),
		"fapi-ciba-id1-client-invalid-signature-test":     parts[0] + "." + parts[1] + "." + strings.Split(sign(with("sub", "x")), ".")[2],
		"payload exchanged":                               parts[0] + "." + otherPayload + "." + parts[2],
		"signature removed":                               parts[0] + "." + parts[1] + ".",
		"signature of zeros":                              parts[0] + "." + parts[1] + "." + encodeSegment(make([]byte, 64)),
		"another key under the same kid":                  forge(keys.foreign, "ES256", nil, good),
		"unknown kid":                                     forge(newECKey("sig-9"), "ES256", nil, good),
		"kid of another kind of key":                      forge(jose.JSONWebKey{Key: testKey.Key, KeyID: "rsa-1"}, "ES256", nil, good),
		"RSA key pinned to PS256 used for RS256":          forge(keys.rsa, "RS256", nil, good),
		"encryption key (RSA)":                            forge(keys.encRSA, "PS256", nil, good),
		"encryption key (ECDSA)":                          forge(keys.encEC, "ES256", nil, good),
		"algorithm beyond the allow-list":                 forge(keys.plainRSA, "RS512", nil, good),
		"fapi-ciba-id1-client-invalid-alternate-alg-test": forge(keys.plainRSA, "RS256", nil, good),

		// The form.
		"empty":                      "",
		"one part":                   parts[0],
		"two parts":                  parts[0] + "." + parts[1],
		"four parts":                 signed + ".",
		"five parts as a JWE":        "a.b.c.d.e",
		"JSON serialization":         `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"padded":                     parts[0] + "=." + parts[1] + "." + parts[2],
		"white space":                signed + "\n",
		"too long":                   sign(with("x", strings.Repeat("x", maxToken))),
		"header not JSON":            raw(`alg`, payload, nothing),
		"header repeats alg":         raw(`{"alg":"ES256","alg":"none"}`, payload, nothing),
		"header is a list":           raw(`[]`, payload, nothing),
		"header with jku":            head("jku", "https://evil.example/jwks"),
		"header with x5u":            head("x5u", "https://evil.example/cert"),
		"header with x5c":            head("x5c", []string{"MIIB"}),
		"header with jwk":            head("jwk", keys.foreign.Public()),
		"header with jwk null":       head("jwk", nil),
		"header with crit":           head("crit", []string{"exp"}),
		"header with unencoded body": head("b64", true),
		"access token as ID Token":   head("typ", "at+jwt"),
		"logout token as ID Token":   head("typ", "logout+jwt"),
		"type not a string":          head("typ", 1),
		"payload not JSON":           rawSigned(t, `hello`),
		"payload a list":             rawSigned(t, `[]`),
		"payload null":               rawSigned(t, `null`),
		"payload repeats sub":        rawSigned(t, strings.Replace(payload, `"sub":`, `"sub":"mallory","sub":`, 1)),
		"payload repeats aud":        rawSigned(t, strings.Replace(payload, `"aud":`, `"aud":"other","aud":`, 1)),
		"payload with trailing data": rawSigned(t, payload+`{}`),
		"payload not UTF-8":          rawSigned(t, strings.Replace(payload, testSubject, "\xff", 1)),

		// The parties.
		"fapi-ciba-id1-client-invalid-iss-test":           sign(with("iss", "https://id.example.org")),
		"fapi-ciba-id1-client-invalid-missing-iss-test":   sign(with("iss", nil)),
		"issuer with a slash":                             sign(with("iss", good["iss"].(string)+"/")),
		"issuer in another case":                          sign(with("iss", "https://ID.example.com")),
		"issuer a list":                                   sign(with("iss", []string{good["iss"].(string)})),
		"fapi-ciba-id1-client-invalid-aud-test":           sign(with("aud", "other")),
		"fapi-ciba-id1-client-invalid-missing-aud-test":   sign(with("aud", nil)),
		"fapi-ciba-id1-client-invalid-secondary-aud-test": sign(with("aud", []string{testClient, "other"})),
		"several audiences and a foreign azp":             sign(with("aud", []string{testClient, "other"}), with("azp", "other")),
		"one audience and a foreign azp":                  sign(with("azp", "other")),
		"azp not a string":                                sign(with("azp", []string{testClient})),
		"audience empty":                                  sign(with("aud", []string{})),
		"audience a number":                               sign(with("aud", 1)),
		"audience in an object":                           sign(with("aud", map[string]any{testClient: 1})),
		"no sub":                                          sign(with("sub", nil)),
		"empty sub":                                       sign(with("sub", "")),
		"sub a number":                                    sign(with("sub", 248289761001)),
		"sub too long":                                    sign(with("sub", strings.Repeat("a", 256))),
		"nonce of another flow":                           sign(with("nonce", "n-0S6_WzA2Mj")),

		// The times.
		"fapi-ciba-id1-client-invalid-expired-exp-test":         sign(with("exp", now-360)),
		"fapi-ciba-id1-client-invalid-missing-exp-test":         sign(with("exp", nil)),
		"expired beyond the skew":                               sign(with("exp", now-11)),
		"exp in quotes":                                         sign(with("exp", "9999999999")),
		"exp beyond time":                                       sign(with("exp", 1e300)),
		"exp negative":                                          sign(with("exp", -1)),
		"fapi-ciba-id1-client-invalid-iat-is-week-in-past-test": sign(with("iat", now-7*24*3600)),
		"iat eleven minutes ago":                                sign(with("iat", now-660)),
		"iat in the future":                                     sign(with("iat", now+30)),
		"no iat":                                                sign(with("iat", nil)),
		"iat in quotes":                                         sign(with("iat", "1")),
		"nbf in the future":                                     sign(with("nbf", now+30)),
		"auth_time in the future":                               sign(with("auth_time", now+30)),
		"auth_time in quotes":                                   sign(with("auth_time", "1")),

		// What ties it to the answer.
		"at_hash of another token":     sign(with("at_hash", leftHash("ES256", "another"))),
		"at_hash by another hash":      sign(with("at_hash", leftHash("ES512", testAccess))),
		"at_hash empty":                sign(with("at_hash", "")),
		"at_hash a number":             sign(with("at_hash", 1)),
		"rt_hash without a token":      sign(with(claimRTHash, leftHash("ES256", ""))),
		"auth_req_id of another":       sign(with(claimAuthReqID, "another")),
		"auth_req_id empty":            sign(with(claimAuthReqID, "")),
		"auth_req_id a list":           sign(with(claimAuthReqID, []string{testAuthReqID})),
		"acr a list":                   sign(with("acr", []string{"phr"})),
		"amr a string":                 sign(with("amr", "hwk")),
		"distributed claim to nowhere": sign(with("_claim_names", map[string]any{"sub": "x"})),
	}
	// The algorithms are restricted as for the conformance suite: once by what the
	// provider publishes, once by our own configuration.
	restricted := []string{"PS256", "ES256", "EdDSA"}
	for _, by := range []string{"provider", "configuration"} {
		for name, token := range forged {
			t.Run("R05 "+name+" by "+by, func(t *testing.T) {
				c, op := newTestClient(t, func(cfg *Config) {
					if by == "configuration" {
						cfg.SigningAlgs = restricted
					}
				})
				op.on("/jwks", sends(200, keys.published()))
				if by == "provider" {
					md := op.metadata()
					md["id_token_signing_alg_values_supported"] = restricted
					op.on("/.well-known/openid-configuration", sends(200, md))
				}
				op.onPolls(sends(200, tokenAnswer(token)))
				p := start(t, c)
				p.NextPoll = time.Time{}
				tokens, err := c.Wait(t.Context(), p, Check{}, nil)
				if tokens != nil || !IsInvalidAnswer(err) {
					t.Fatalf("got tokens %v and error %v", tokens, err)
				}
				if len(op.seen("/token")) != 1 || len(op.seen("/backchannel")) != 1 || len(op.seen("/revoke")) != 0 {
					t.Error("the client did not go silent")
				}
				if strings.Contains(err.Error(), "mallory") || strings.Contains(err.Error(), testAccess) {
					t.Errorf("the error quotes the answer: %v", err)
				}
			})
		}
	}
}

// rawSigned signs a payload that is not what claims look like.
func rawSigned(t *testing.T, payload string) string {
	t.Helper()
	signer, err := newSigner(&testKey, "", "")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// The ID Tokens that must pass, so that the table above means something: one for
// each algorithm, and what is allowed without being usual.
// fapi-ciba-id1-client-valid-aud-as-array-test among them.
func TestGenuineIDTokens(t *testing.T) {
	keys := newAttackKeys(t)
	now := time.Now().Unix()
	_, op := newTestClient(t, nil)
	claims := func(changes ...func(map[string]any)) map[string]any {
		c := op.claims()
		for _, change := range changes {
			change(c)
		}
		return c
	}
	es := func(changes ...func(map[string]any)) string {
		return forge(testKey, "ES256", nil, claims(changes...))
	}
	for name, token := range map[string]string{
		"ES256":                         es(),
		"PS256":                         forge(keys.rsa, "PS256", nil, claims()),
		"RS256":                         forge(keys.plainRSA, "RS256", nil, claims()),
		"EdDSA":                         forge(keys.ed, "EdDSA", nil, claims(with("at_hash", leftHash("EdDSA", testAccess)))),
		"without kid, one key fits":     forge(jose.JSONWebKey{Key: testKey.Key}, "ES256", nil, claims()),
		"typ":                           forge(testKey, "ES256", map[string]any{"typ": "JWT"}, claims()),
		"valid-aud-as-array-test":       es(with("aud", []string{testClient})),
		"several audiences with azp":    es(with("aud", []string{testClient, "other"}), with("azp", testClient)),
		"expired within the skew":       es(with("exp", now-5)),
		"issued ahead within the skew":  es(with("iat", now+5), with("nbf", now+5), with("auth_time", now+5)),
		"issued nine minutes ago":       es(with("iat", now-540)),
		"fractions of seconds":          es(with("iat", float64(now)-0.5)),
		"no acr, amr, auth_time":        es(with("acr", nil), with("amr", nil), with("auth_time", nil)),
		"at_hash":                       es(with("at_hash", leftHash("ES256", testAccess))),
		"auth_req_id":                   es(with(claimAuthReqID, testAuthReqID)),
		"claims in other cases ignored": es(with("SUB", "mallory"), with("Nonce", "x")),
	} {
		t.Run(name, func(t *testing.T) {
			c, op := newTestClient(t, nil)
			op.on("/jwks", sends(200, keys.published()))
			op.onPolls(sends(200, tokenAnswer(token)))
			tokens, err := c.Poll(t.Context(), start(t, c))
			if err != nil {
				t.Fatal(err)
			}
			if tokens.Claims.Subject != testSubject || tokens.Claims.Issuer != op.issuer {
				t.Errorf("got claims %+v", tokens.Claims)
			}
		})
	}
}

// at_hash and rt_hash by the left half of the hash: the value of OpenID Connect
// Core 1.0 appendix A.3 and of CIBA Core section 10.3.1.
func TestLeftHash(t *testing.T) {
	got := leftHash("RS256", "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y")
	if got != "77QmUPtjPfzWtF2AnpK9RQ" {
		t.Errorf("left hash %q", got)
	}
}

// A refresh token with its hash is accepted, and refused with another's.
// CIBA checklist I2.
func TestRefreshTokenHash(t *testing.T) {
	for token, want := range map[string]string{"refresh-1": "", "refresh-2": CodeInvalidToken} {
		c, op := newTestClient(t, nil)
		claims := op.claims()
		claims[claimRTHash] = leftHash("ES256", "refresh-1")
		answer := tokenAnswer(forge(testKey, "ES256", nil, claims))
		answer["refresh_token"] = token
		op.onPolls(sends(200, answer))
		_, err := c.Poll(t.Context(), start(t, c))
		wantCode(t, err, want)
	}
}

// What a caller demands beyond the protocol (R06). A mismatch hands out nothing.
func TestCheck(t *testing.T) {
	began := time.Now()
	for name, row := range map[string]struct {
		check  Check
		change func(map[string]any)
		ok     bool
	}{
		"nothing demanded":         {Check{}, nil, true},
		"the customer":             {Check{Subject: testSubject}, nil, true},
		"another customer":         {Check{Subject: "alice"}, nil, false},
		"customer in another case": {Check{Subject: "A"}, with("sub", "a"), false},
		"acr reached":              {Check{ACR: []string{"phrh", "phr"}}, nil, true},
		"acr below":                {Check{ACR: []string{"phrh"}}, nil, false},
		"acr missing":              {Check{ACR: []string{"phr"}}, with("acr", nil), false},
		"some acr":                 {Check{RequireACR: true}, nil, true},
		"no acr at all":            {Check{RequireACR: true}, with("acr", nil), false},
		"authenticated now":        {Check{NotBefore: began}, nil, true},
		"authenticated before":     {Check{NotBefore: began}, with("auth_time", began.Unix()-60), false},
		"auth_time missing":        {Check{NotBefore: began}, with("auth_time", nil), false},
		"auth_time optional":       {Check{NotBefore: began, AuthTimeOptional: true}, with("auth_time", nil), true},
		"auth_time optional, old":  {Check{NotBefore: began, AuthTimeOptional: true}, with("auth_time", began.Unix()-60), false},
		"claim as expected":        {Check{Claims: map[string]string{"preferred_username": "alice"}}, with("preferred_username", "alice"), true},
		"claim of another":         {Check{Claims: map[string]string{"preferred_username": "alice"}}, with("preferred_username", "mallory"), false},
		"claim missing":            {Check{Claims: map[string]string{"preferred_username": "alice"}}, nil, false},
		"claim of another type":    {Check{Claims: map[string]string{"preferred_username": "1"}}, with("preferred_username", 1), false},
	} {
		t.Run("R06 "+name, func(t *testing.T) {
			c, op := newTestClient(t, nil)
			op.onPolls(op.approve(row.change))
			p := start(t, c)
			p.NextPoll = time.Time{}
			tokens, err := c.Wait(t.Context(), p, row.check, nil)
			if row.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if tokens != nil || !IsMismatch(err) {
				t.Fatalf("got tokens %v and error %v", tokens, err)
			}
		})
	}
}

// Numbers in claims keep their digits.
func TestRawClaimsKeepDigits(t *testing.T) {
	c, op := newTestClient(t, nil)
	op.onPolls(op.approve(with("account", json.Number("90071992547409931"))))
	tokens, err := c.Poll(t.Context(), start(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if tokens.Claims.Raw["account"] != json.Number("90071992547409931") {
		t.Errorf("account is %v", tokens.Claims.Raw["account"])
	}
}
