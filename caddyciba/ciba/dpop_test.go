package ciba

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proofTime is when proofs are made in tests of Prove.
var proofTime = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func newTestDPoP(t *testing.T, now func() time.Time) (*DPoP, *DPoPKey) {
	t.Helper()
	jwk := newECKey("not shown")
	key, err := NewDPoPKey(&jwk, "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDPoP(DPoPConfig{Keys: FixedDPoPKey(key), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return d, key
}

// openProof verifies a proof as RFC 9449 section 4.3 says, and returns its claims and
// the thumbprint of its key.
func openProof(proof string) (map[string]any, string, error) {
	signed, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, "", err
	}
	header := signed.Signatures[0].Protected
	key := header.JSONWebKey
	if key == nil || !key.IsPublic() || !key.Valid() || key.KeyID != "" || header.KeyID != "" {
		return nil, "", fmt.Errorf("key of proof is %v", key)
	}
	if header.ExtraHeaders["typ"] != "dpop+jwt" {
		return nil, "", fmt.Errorf("typ of proof is %v", header.ExtraHeaders["typ"])
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return nil, "", err
	}
	var claims map[string]any
	err = json.Unmarshal(payload, &claims)
	if err != nil {
		return nil, "", err
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	return claims, encodeSegment(sum), err
}

// What a proof for an API says, for targets in several spellings.
func TestProve(t *testing.T) {
	d, key := newTestDPoP(t, func() time.Time { return proofTime })
	tokens := &Tokens{AccessToken: testAccess, TokenType: "DPoP", DPoPKey: key.Thumbprint()}
	ids := make(map[any]bool)
	for target, want := range map[string]string{
		"https://api.example.com/v1/transfers":         "https://api.example.com/v1/transfers",
		"https://api.example.com/v1/transfers?a=b#c":   "https://api.example.com/v1/transfers",
		"http://10.0.0.7:8080":                         "http://10.0.0.7:8080/",
		"https://api.example.com/a%20b/%C3%A4/%2c?x=1": "https://api.example.com/a%20b/%C3%A4/%2c",
	} {
		proof, err := d.Prove(t.Context(), tokens, "POST", target)
		if err != nil {
			t.Fatal(err)
		}
		claims, thumbprint, err := openProof(proof)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(testAccess))
		if claims["htu"] != want || claims["htm"] != "POST" || claims["ath"] != encodeSegment(sum[:]) ||
			claims["iat"] != float64(proofTime.Unix()) || thumbprint != key.Thumbprint() {
			t.Errorf("%s: claims %v by %s", target, claims, thumbprint)
		}
		if claims["nonce"] != nil {
			t.Errorf("there is a nonce that nobody has handed out: %v", claims["nonce"])
		}
		if claims["jti"] == "" || ids[claims["jti"]] {
			t.Errorf("jti %v is empty or not new", claims["jti"])
		}
		ids[claims["jti"]] = true
	}
	for _, target := range []string{"/v1/transfers", "api.example.com", "http://%zz"} {
		_, err := d.Prove(t.Context(), tokens, "POST", target)
		if err == nil {
			t.Errorf("made a proof for %s", target)
		}
	}
	_, err := d.Prove(t.Context(), &Tokens{DPoPKey: "another"}, "POST", "https://api.example.com")
	if !errors.Is(err, ErrUnknownDPoPKey) {
		t.Errorf("error for a key that is gone: %v", err)
	}
}

// A nonce is for the server that has handed it out, and for APIs or providers alone.
func TestNonces(t *testing.T) {
	d, key := newTestDPoP(t, nil)
	tokens := &Tokens{AccessToken: testAccess, DPoPKey: key.Thumbprint()}
	nonceFor := func(target string) any {
		proof, err := d.Prove(t.Context(), tokens, "GET", target)
		if err != nil {
			t.Fatal(err)
		}
		claims, _, err := openProof(proof)
		if err != nil {
			t.Fatal(err)
		}
		return claims["nonce"]
	}
	d.Learn("https://API.example.com/x", http.Header{"Dpop-Nonce": {"n1"}})
	if got := nonceFor("https://api.example.com/y?z"); got != "n1" {
		t.Errorf("nonce is %v", got)
	}
	for _, other := range []string{"https://api.example.com:8443/", "http://api.example.com/", "https://id.example.com/"} {
		if got := nonceFor(other); got != nil {
			t.Errorf("nonce for %s is %v", other, got)
		}
	}
	if got := d.nonces.get(atProvider, &url.URL{Scheme: "https", Host: "api.example.com"}); got != "" {
		t.Errorf("an API's nonce is the provider's: %v", got)
	}
	for name, bad := range map[string][]string{
		"two": {"a", "b"}, "empty": {""}, "none": nil, "space": {"a b"}, "quote": {`a"b`},
		"backslash": {`a\b`}, "control": {"a\x01"}, "beyond ASCII": {"ä"}, "long": {strings.Repeat("x", maxNonce+1)},
	} {
		d.Learn("https://api.example.com/", http.Header{"Dpop-Nonce": bad})
		if got := nonceFor("https://api.example.com/"); got != "n1" {
			t.Errorf("%s: nonce is %v", name, got)
		}
	}
	for i := range 2 * maxNonces {
		d.Learn(fmt.Sprintf("https://h%d.example.com/", i), http.Header{"Dpop-Nonce": {"n"}})
	}
	if len(d.nonces.known) != maxNonces {
		t.Errorf("%d nonces are remembered", len(d.nonces.known))
	}
}

// An upstream's and a provider's answers can come at the same time.
func TestDPoPConcurrently(t *testing.T) {
	d, key := newTestDPoP(t, nil)
	tokens := &Tokens{AccessToken: testAccess, DPoPKey: key.Thumbprint()}
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			target := fmt.Sprintf("https://h%d.example.com/", i)
			d.Learn(target, http.Header{"Dpop-Nonce": {"n"}})
			_, err := d.Prove(context.Background(), tokens, "GET", target)
			if err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
}

func TestDPoPKeyRefused(t *testing.T) {
	private := newECKey("")
	public := private.Public()
	encrypting := private
	encrypting.Use = "enc"
	for name, key := range map[string]*jose.JSONWebKey{"none": nil, "public": &public, "for encryption": &encrypting} {
		_, err := NewDPoPKey(key, "")
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err := NewDPoPKey(&private, "HS256")
	if err == nil {
		t.Error("a symmetric algorithm was accepted")
	}
	_, err = NewDPoP(DPoPConfig{})
	if err == nil {
		t.Error("no keys were accepted")
	}
}

func TestDPoPKeyIsNotPrinted(t *testing.T) {
	_, key := newTestDPoP(t, nil)
	if got := fmt.Sprintf("%v %+v %#v %s", key, key, key, key); strings.Contains(got, key.Thumbprint()) || !strings.Contains(got, "[redacted]") {
		t.Errorf("key is printed as %s", got)
	}
}
