package interop_test

import (
	"context"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// TestGoOIDCRotation rotates the signing key under a relying party. One that has
// run for long takes the tokens of the new key, and one that starts now still
// takes a token of the old one.
func TestGoOIDCRotation(t *testing.T) {
	const secret = "the-secret-of-a-relying-party"
	clock := &sleeper{now: time.Now()}
	s := newSite(t, func(c *provider.Config) {
		c.Now = clock.Now
		c.KeyRotation = time.Hour
		c.Clients = []provider.Client{{ID: "rp", Scopes: []string{"email"}, SecretHashes: []provider.SecretHash{provider.HashSecret(secret)}}}
	}, decideByMessage(t))
	ctx := oidc.ClientContext(context.Background(), s.client)
	p := &party{t: t, site: s, id: "rp", secret: secret, backchannel: s.issuer + "/backchannel-authentication", token: s.issuer + "/token"}
	verifier := func() *oidc.IDTokenVerifier {
		op, err := oidc.NewProvider(ctx, s.issuer)
		if err != nil {
			t.Fatal(err)
		}
		return op.VerifierContext(ctx, &oidc.Config{ClientID: p.id, SupportedSigningAlgs: []string{"ES256"}, Now: clock.Now})
	}
	verify := func(v *oidc.IDTokenVerifier, token string) {
		t.Helper()
		_, err := v.Verify(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
	}
	longRunning := verifier()
	first := p.authenticate().IDToken
	verify(longRunning, first)

	// The next key is announced a quarter of an hour before it signs, as soon as
	// somebody asks for a token in the last quarter of the hour.
	clock.Sleep(50 * time.Minute)
	announced := p.authenticate().IDToken
	if keyID(t, announced) != keyID(t, first) {
		t.Fatal("the key has changed before its time")
	}
	clock.Sleep(14 * time.Minute)
	last := p.authenticate().IDToken
	if keyID(t, last) != keyID(t, first) {
		t.Fatal("the key has changed before its time")
	}
	clock.Sleep(2*time.Minute + time.Second) // nodes look for new keys once a minute
	next := p.authenticate().IDToken
	if keyID(t, next) == keyID(t, first) {
		t.Fatal("the key has not changed")
	}
	verify(longRunning, next)
	verify(longRunning, last)
	verify(verifier(), last)
	verify(verifier(), next)
}

// keyID is the kid of a token.
func keyID(t *testing.T, token string) string {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return jws.Signatures[0].Header.KeyID
}
