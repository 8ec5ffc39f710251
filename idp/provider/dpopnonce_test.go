package provider_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// RFC 9449 sections 8 and 9; threats T18
func TestDPoPNonce(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) {
		c.DPoPNonceLifetime = time.Minute
		c.AccessTokenLifetime = time.Hour
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
	})
	key := newProver(t)
	type m = map[string]any
	authReqID, id := w.start()
	w.mustApprove(id)
	redeem := func(w *world, nonce any) *answer {
		return w.redeemWith([]string{key.proof(w, "/token", m{"nonce": nonce}, nil)}, nil, authReqID)
	}
	if w.redeemWith([]string{"x"}, nil, authReqID).header.Get("DPoP-Nonce") == "" {
		t.Error("a bad proof got no nonce")
	}
	asked := redeem(w, nil)
	asked.want(t, 400, "use_dpop_nonce")
	nonce := asked.header.Get("DPoP-Nonce")
	if len(nonce) < 22 {
		t.Fatalf("nonce %q", nonce)
	}
	for _, bad := range []any{"", "x", nonce + "A", nonce[1:], hashOf(nonce)} {
		redeem(w, bad).want(t, 400, "use_dpop_nonce")
	}
	redeem(w, 7).want(t, 400, "invalid_dpop_proof")
	w.poll("other", authReqID).want(t, 400, "invalid_grant")
	if w.poll("gateway", "x").header.Get("DPoP-Nonce") != "" {
		t.Error("a nonce for somebody without a proof")
	}

	// A nonce lives for one lifetime at least, on all nodes, and then no longer.
	w.clock.advance(time.Minute)
	second, err := provider.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	node := *w
	node.Provider = second
	tokens := redeem(&node, nonce)
	tokens.want(t, 200, "")
	fresh := tokens.header.Get("DPoP-Nonce")
	if fresh == "" || fresh == nonce {
		t.Errorf("the next nonce is %q", fresh)
	}
	start := func(nonce string) *answer {
		return w.with([]string{key.proof(w, "/backchannel-authentication", m{"nonce": nonce}, nil)}, nil, "/backchannel-authentication", "scope", "openid", "login_hint", "bob")
	}
	start(nonce).want(t, 200, "")
	w.clock.advance(time.Minute)
	start(nonce).want(t, 400, "use_dpop_nonce")
	start(fresh).want(t, 200, "")
	w.clock.advance(-2 * time.Minute)
	start(fresh).want(t, 200, "") // of a node whose clock is ahead

	// A resource asks in its own way.
	info := func(nonce any) *answer {
		r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
		r.Header.Set("Authorization", "DPoP "+tokens.str("access_token"))
		r.Header.Set("DPoP", key.proof(w, "/userinfo", m{"htm": "GET", "ath": hashOf(tokens.str("access_token")), "nonce": nonce}, nil))
		return w.do(r)
	}
	a := info(nil)
	a.want(t, 401, "use_dpop_nonce")
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), `DPoP error="use_dpop_nonce"`) {
		t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
	}
	info(a.header.Get("DPoP-Nonce")).want(t, 200, "")

	// Clients without DPoP are not concerned.
	plain, id := w.start()
	w.mustApprove(id)
	w.poll("gateway", plain).want(t, 200, "")
}

// The secret of the nonces is made once, and encrypted like the signing keys.
func TestNonceSecret(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.DPoPNonceLifetime = time.Minute })
	stored := func() string {
		record, err := w.store.Get(t.Context(), "idp.secret", "dpop-nonce")
		if err != nil {
			t.Fatal(err)
		}
		return string(record.Data)
	}
	nonce := func(w *world) string {
		r := postRequest("/token", "")
		r.Header.Set("DPoP", "x")
		return w.do(r).header.Get("DPoP-Nonce")
	}
	got := make([]string, 16)
	var wg sync.WaitGroup
	for i := range got {
		node, err := provider.New(w.cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		wg.Go(func() {
			at := *w
			at.Provider = node
			got[i] = nonce(&at)
		})
	}
	wg.Wait()
	for _, n := range got {
		if n == "" || n != got[0] {
			t.Fatalf("nodes have different nonces: %v", got)
		}
	}
	if !strings.Contains(stored(), `"key"`) {
		t.Fatal("without an encryption key the secret is expected as it is")
	}
	w.cfg.EncryptionKeys = [][]byte{bytes.Repeat([]byte{1}, 32)}
	w.restart()
	if nonce(w) != got[0] || strings.Contains(stored(), `"key"`) {
		t.Fatalf("the secret was not encrypted in place: %s", stored())
	}
	w.restart()
	if nonce(w) != got[0] {
		t.Error("another secret after encryption")
	}
	// Another key that comes first encrypts it again, and is enough then.
	for _, keys := range [][][]byte{{bytes.Repeat([]byte{3}, 32), bytes.Repeat([]byte{1}, 32)}, {bytes.Repeat([]byte{3}, 32)}} {
		w.cfg.EncryptionKeys = keys
		w.restart()
		if nonce(w) != got[0] {
			t.Error("another secret after a change of the encryption key")
		}
	}
	// Without the right key nobody is let through.
	w.cfg.EncryptionKeys = [][]byte{bytes.Repeat([]byte{2}, 32)}
	w.restart()
	proof := newProver(t).proof(w, "/backchannel-authentication", map[string]any{"nonce": got[0]}, nil)
	a := w.with([]string{proof}, nil, "/backchannel-authentication", "scope", "openid", "login_hint", "bob")
	a.want(t, 503, "temporarily_unavailable")
	if a.header.Get("DPoP-Nonce") != "" {
		t.Error("a nonce without a secret")
	}
}
