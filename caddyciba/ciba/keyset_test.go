package ciba

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// asMap returns a key as the object that it is published as.
func asMap(t *testing.T, key jose.JSONWebKey) map[string]any {
	t.Helper()
	data, err := key.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	err = json.Unmarshal(data, &m)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func keySetOf(t *testing.T, keys ...any) (*keySet, error) {
	t.Helper()
	return parseKeySet([]byte(encode(t, map[string]any{"keys": keys})))
}

// Keys that are no good for verifying are left out of the set (R09).
func TestUnfitKeysAreLeftOut(t *testing.T) {
	public := asMap(t, testKey.Public())
	changed := func(name string, value any) map[string]any {
		m := asMap(t, testKey.Public())
		m[name] = value
		return m
	}
	modulus := func(bits uint) map[string]any {
		n := new(big.Int).SetBit(new(big.Int), int(bits-1), 1)
		n.SetBit(n, 0, 1)
		return asMap(t, jose.JSONWebKey{KeyID: "weak", Key: &rsa.PublicKey{N: n, E: 65537}})
	}
	for name, key := range map[string]any{
		"symmetric":             map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "sig-1"},
		"symmetric for ES256":   map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "sig-1", "alg": "ES256"},
		"RSA 512":               modulus(512),
		"RSA 1024":              modulus(1024),
		"RSA 2047":              modulus(2047),
		"RSA 16384":             modulus(16384),
		"RSA 65537":             modulus(65537),
		"RSA with exponent 1":   asMap(t, jose.JSONWebKey{Key: &rsa.PublicKey{N: rsaModulus(t), E: 1}}),
		"RSA with even e":       asMap(t, jose.JSONWebKey{Key: &rsa.PublicKey{N: rsaModulus(t), E: 65536}}),
		"for encryption":        changed("use", "enc"),
		"use of a wrong type":   changed("use", 1),
		"for signing only":      changed("key_ops", []string{"sign"}),
		"ops of a wrong type":   changed("key_ops", "verify"),
		"alg of another curve":  changed("alg", "ES384"),
		"alg of another kind":   changed("alg", "PS256"),
		"alg of HMAC":           changed("alg", "HS256"),
		"alg none":              changed("alg", "none"),
		"point off the curve":   changed("x", public["y"]),
		"private":               asMap(t, testKey),
		"unknown kind":          map[string]any{"kty": "AKP", "kid": "new"},
		"null":                  nil,
		"a string":              "key",
		"longer than any key":   changed("x5c", []string{strings.Repeat("A", maxKeySize)}),
		"certificate of nobody": changed("x5c", []string{"AAAA"}),
	} {
		t.Run("R09 "+name, func(t *testing.T) {
			_, err := keySetOf(t, key)
			if err == nil {
				t.Error("a set of it alone is accepted")
			}
			set, err := keySetOf(t, key, public)
			if err != nil {
				t.Fatal(err)
			}
			if len(set.keys) != 1 {
				t.Errorf("%d keys in the set", len(set.keys))
			}
		})
	}
}

func rsaModulus(t *testing.T) *big.Int {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key.N
}

func TestKeySetLimits(t *testing.T) {
	var many []any
	for i := range 1000 {
		key := newKeyNamed(fmt.Sprint(i))
		many = append(many, key.Public())
	}
	_, err := keySetOf(t, many...)
	if err == nil {
		t.Error("R09: a set of 1,000 keys is accepted")
	}
	_, err = keySetOf(t, many[:maxKeys]...)
	if err != nil {
		t.Errorf("a set of %d keys: %v", maxKeys, err)
	}
}

// newKeyNamed is the test key under another name.
func newKeyNamed(kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: testKey.Key, KeyID: kid}
}

// R09: two keys of one name, or a token without a name and two keys that fit, is
// a choice that nobody makes for the token.
func TestAmbiguousKeys(t *testing.T) {
	other := newECKey("sig-1")
	set, err := keySetOf(t, testKey.Public(), other.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, kid := range []string{"sig-1", ""} {
		key, err := set.find(kid, "ES256")
		if err == nil || key != nil {
			t.Errorf("kid %q finds a key", kid)
		}
	}
	// The same name for another kind of key is no ambiguity.
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set, err = keySetOf(t, testKey.Public(), (&jose.JSONWebKey{Key: &rsaKey.PublicKey, KeyID: "sig-1"}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = set.find("sig-1", "ES256")
	if err != nil {
		t.Error(err)
	}
}

// A key with an alg verifies by no other, though it would fit.
func TestKeyIsPinnedToItsAlgorithm(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for pinned, want := range map[string]map[string]bool{
		"PS256": {"PS256": true, "RS256": false, "PS512": false, "ES256": false},
		"":      {"PS256": true, "RS256": true, "PS512": true, "ES256": false, "HS256": false, "none": false},
	} {
		set, err := keySetOf(t, &jose.JSONWebKey{Key: &key.PublicKey, KeyID: "a", Algorithm: pinned})
		if err != nil {
			t.Fatal(err)
		}
		for alg, ok := range want {
			_, err := set.find("a", alg)
			if (err == nil) != ok {
				t.Errorf("key for %q verifies %s: %v", pinned, alg, err)
			}
		}
	}
}

// A key that appears after the set was fetched is found by one more fetch; tokens
// with unknown keys cause one fetch a minute at most (R09).
func TestUnknownKeyRefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		next := newECKey("sig-2")
		p := start(t, c)
		p.ExpiresAt = time.Now().Add(time.Hour)
		poll := func() error {
			op.onPolls(sends(200, tokenAnswer(forge(next, "ES256", nil, op.claims()))))
			_, err := c.Poll(t.Context(), p)
			return err
		}
		for range 20 {
			wantCode(t, poll(), CodeInvalidToken)
		}
		if n := len(op.seen("/jwks")); n != 1 {
			t.Fatalf("%d fetches within a minute of the first", n)
		}
		time.Sleep(61 * time.Second)
		for range 20 {
			wantCode(t, poll(), CodeInvalidToken)
		}
		if n := len(op.seen("/jwks")); n != 2 {
			t.Fatalf("%d fetches after a minute", n)
		}
		time.Sleep(50 * time.Second)
		op.on("/jwks", sends(200, map[string]any{"keys": []any{testKey.Public(), next.Public()}}))
		wantCode(t, poll(), CodeInvalidToken)
		time.Sleep(11 * time.Second)
		wantCode(t, poll(), "")
		if n := len(op.seen("/jwks")); n != 3 {
			t.Errorf("%d fetches after the rotation", n)
		}
	})
}

// Keys are used for ten minutes without asking and for an hour if the provider
// does not answer. After that nothing is redeemed, because nothing of it could be
// verified.
func TestKeysAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.on("/backchannel", sends(200, map[string]any{"auth_req_id": "a", "expires_in": 20000}))
		p := start(t, c)
		good := op.handlers["/jwks"]
		op.on("/jwks", writes(503, nil, ""))
		poll := func() error {
			_, err := c.Poll(t.Context(), p)
			return err
		}
		for _, step := range []struct {
			pass    time.Duration
			code    string
			fetches int
		}{
			{9 * time.Minute, "", 1},
			{2 * time.Minute, "", 2},
			{0, "", 2}, // backing off
			{48 * time.Minute, "", 3},
			{2 * time.Minute, CodeUnavailable, 4},
			{0, CodeUnavailable, 4},
		} {
			time.Sleep(step.pass)
			wantCode(t, poll(), step.code)
			if n := len(op.seen("/jwks")); n != step.fetches {
				t.Fatalf("%d fetches, want %d", n, step.fetches)
			}
		}
		if n := len(op.seen("/token")); n != 4 {
			t.Errorf("%d polls reached the provider, want 4", n)
		}
		op.on("/jwks", good)
		time.Sleep(time.Minute)
		wantCode(t, poll(), "")
	})
}

// The key set may be of any media type: some providers serve it from a file
// store.
func TestKeySetMediaType(t *testing.T) {
	c, op := newTestClient(t, nil)
	body := encode(t, map[string]any{"keys": []any{testKey.Public()}})
	op.on("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte(body))
	})
	start(t, c)
}
