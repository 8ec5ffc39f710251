package provider_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// secondNode returns another provider over the same store.
func (w *world) secondNode() *world {
	w.t.Helper()
	p, err := provider.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Close)
	node := *w
	node.Provider = p
	return &node
}

// keyRecord is what the store has of the keys of one algorithm.
type keyRecord struct {
	Keys []struct {
		ID      string          `json:"kid"`
		Retired bool            `json:"retired"`
		JWK     jose.JSONWebKey `json:"jwk"`
	} `json:"keys"`
}

func (w *world) keyRecord(alg string) keyRecord {
	w.t.Helper()
	stored, err := w.store.Get(context.Background(), "idp.keys", alg)
	if err != nil {
		w.t.Fatal(err)
	}
	var record keyRecord
	err = json.Unmarshal(stored.Data, &record)
	if err != nil {
		w.t.Fatal(err)
	}
	return record
}

// tokens has alice approve something and returns what the client gets for it.
func (w *world) tokens() *answer {
	w.t.Helper()
	authReqID, id := w.start()
	w.mustApprove(id)
	a := w.poll("gateway", authReqID)
	a.want(w.t, 200, "")
	return a
}

func kidOf(t *testing.T, token string) string {
	t.Helper()
	kid, _ := decodePart(t, token, 0)["kid"].(string)
	return kid
}

// Threats INV-22; CIBA checklist A7: with two nodes on one store, every token that
// was valid when issued stays so on both until it expires, no key signs before all
// could know it, and none verifies when its time is over.
func TestKeyRotation(t *testing.T) {
	const life, step = time.Hour, 10 * time.Minute
	w := newWorld(t, func(c *provider.Config) {
		c.KeyRotation = 4 * time.Hour
		c.AccessTokenLifetime = life
	})
	nodes := []*world{w, w.secondNode()}
	type issued struct {
		access, kid string
		expires     time.Time
	}
	var live []issued
	published := make(map[string]time.Time) // since when both nodes publish a key
	var order []string                      // of the keys that have signed
	hints, privates := make(map[string]string), make(map[string]jose.JSONWebKey)
	for round := range 3 * 24 {
		now := w.clock.Now()
		both := nodes[0].kids()
		for _, kid := range nodes[1].kids() {
			_, known := published[kid]
			if slices.Contains(both, kid) && !known {
				published[kid] = now
			}
		}
		tokens := nodes[round%2].tokens()
		kid := kidOf(t, tokens.str("access_token"))
		if kid != kidOf(t, tokens.str("id_token")) {
			t.Fatal("the tokens of one answer are signed by different keys")
		}
		if !slices.Contains(order, kid) {
			if len(order) > 0 && now.Sub(published[kid]) < 50*time.Minute {
				t.Errorf("a key signs %s after it was published", now.Sub(published[kid]))
			}
			order = append(order, kid)
			hints[kid] = tokens.str("id_token")
		}
		if kid != order[len(order)-1] {
			t.Errorf("a key signs again after its successor")
		}
		live = append(live, issued{tokens.str("access_token"), kid, now.Add(life)})
		live = slices.DeleteFunc(live, func(i issued) bool { return !now.Before(i.expires) })
		for _, node := range nodes {
			for _, i := range live {
				userinfo(node, i.access).want(t, 200, "")
				if !slices.Contains(node.kids(), i.kid) {
					t.Errorf("the key of a token is not published")
				}
			}
		}
		for _, key := range w.keyRecord("ES256").Keys {
			if !key.Retired {
				privates[key.ID] = key.JWK
			} else if !key.JWK.IsPublic() {
				t.Errorf("a retired key can still sign")
			}
		}
		w.clock.advance(step)
	}
	if len(order) != 3 || len(privates) != 3 && len(privates) != 4 {
		t.Fatalf("%d keys have signed and %d were made in 12 hours", len(order), len(privates))
	}
	for _, node := range nodes {
		if slices.Contains(node.kids(), order[0]) || !slices.Contains(node.kids(), order[2]) {
			t.Errorf("published: %v of %v", node.kids(), order)
		}
	}

	// A token that says it is still good, by a key that is retired and one that is not.
	for i, status := range []int{401, 401, 200} {
		claims := decodeClaims(t, live[len(live)-1].access)
		claims["exp"] = w.clock.Now().Add(time.Hour).Unix()
		key := privates[order[i]]
		forged := signer{alg: jose.ES256, key: key.Key, kid: order[i]}.sign(t, claims, map[jose.HeaderKey]any{"typ": "at+jwt"})
		for _, node := range nodes {
			a := userinfo(node, forged)
			if a.status != status {
				t.Errorf("key %d: %d %s", i, a.status, a.raw)
			}
		}
	}
	// Hints say who is meant, whoever has signed them.
	for _, kid := range order {
		w.post("gateway", "/backchannel-authentication", "scope", "openid", "id_token_hint", hints[kid]).want(t, 200, "")
		w.clock.advance(6 * time.Minute)
	}
}

// Of nodes that find at the same time that a key is due one makes it.
func TestKeyRotationRace(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.KeyRotation = 24 * time.Hour })
	w.kids()
	nodes := make([]*world, 16)
	for i := range nodes {
		nodes[i] = w.secondNode()
	}
	for round := 1; round <= 3; round++ {
		w.clock.advance(24 * time.Hour)
		kids := make([]string, len(nodes))
		var wg sync.WaitGroup
		for i, node := range nodes {
			wg.Go(func() { kids[i] = strings.Join(node.kids(), " ") })
		}
		wg.Wait()
		for _, k := range kids {
			if k != kids[0] || strings.Count(k, " ") != 1 {
				t.Fatalf("round %d: nodes publish %v", round, kids)
			}
		}
		if len(w.keyRecord("ES256").Keys) != round+1 {
			t.Fatalf("round %d: %d keys", round, len(w.keyRecord("ES256").Keys))
		}
	}
}

// A node that slept through the time of its keys publishes the next one before it
// signs, too.
func TestKeyRotationAfterSleep(t *testing.T) {
	w := newWorld(t, nil)
	first := w.kids()[0]
	w.clock.advance(90 * 24 * time.Hour)
	tokens := w.tokens()
	if kidOf(t, tokens.str("id_token")) != first || len(w.kids()) != 2 {
		t.Errorf("signed by %s, published %v", kidOf(t, tokens.str("id_token")), w.kids())
	}
	w.clock.advance(24*time.Hour - time.Second)
	if kidOf(t, w.tokens().str("id_token")) != first {
		t.Error("the next key signs too early")
	}
	w.clock.advance(time.Minute)
	if kid := kidOf(t, w.tokens().str("id_token")); kid == first || kid != w.kids()[1] {
		t.Errorf("signed by %s of %v", kid, w.kids())
	}
	w.clock.advance(-48 * time.Hour) // a clock that is put back makes no keys
	if kid := kidOf(t, w.tokens().str("id_token")); kid != first || len(w.keyRecord("ES256").Keys) != 2 {
		t.Errorf("signed by %s", kid)
	}
}

func TestKeyRotationOff(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.KeyRotation = -1 })
	first := w.kids()[0]
	w.clock.advance(10 * 366 * 24 * time.Hour)
	if kids := w.kids(); len(kids) != 1 || kids[0] != first {
		t.Errorf("keys: %v", kids)
	}
}

// Keys are announced in time also where nobody asks for any.
func TestKeyRotationWithoutRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *provider.Config) {
			c.KeyRotation = time.Hour
			c.Now = time.Now
			c.Store = store.NewMemory(store.Options{Now: time.Now})
		})
		for range 2 { // a second start changes nothing
			err := w.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(44 * time.Minute)
		if len(w.keyRecord("ES256").Keys) != 1 {
			t.Error("a key is announced too early")
		}
		time.Sleep(2 * time.Minute)
		if len(w.keyRecord("ES256").Keys) != 2 {
			t.Error("no key is announced")
		}
	})
}

// Not without end: of retired keys a number is kept.
func TestRetiredKeysAreBounded(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.KeyRotation = time.Hour })
	for range 4 * 40 {
		w.kids()
		w.clock.advance(15 * time.Minute)
	}
	retired := 0
	for _, key := range w.keyRecord("ES256").Keys {
		if key.Retired {
			retired++
		}
	}
	if retired != 24 || len(w.kids()) > 3 {
		t.Errorf("%d retired keys, %d published", retired, len(w.kids()))
	}
}

// A change of configuration takes back no token: shorter lifetimes do not.
func TestKeysKnowHowLongTheirTokensLive(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.KeyRotation, c.AccessTokenLifetime = time.Hour, 50*time.Minute })
	w.kids()
	w.clock.advance(50 * time.Minute)
	w.kids() // the next one is announced
	w.clock.advance(9 * time.Minute)
	old := w.tokens()
	w.cfg.AccessTokenLifetime = 5 * time.Minute
	w.restart()
	w.kids() // the key is loaded by who makes shorter tokens
	w.clock.advance(49 * time.Minute)
	if kidOf(t, w.tokens().str("access_token")) == kidOf(t, old.str("access_token")) {
		t.Error("no other key signs")
	}
	userinfo(w, old.str("access_token")).want(t, 200, "")
}

// Nor does another algorithm.
func TestKeysOutliveTheirConfig(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.AccessTokenLifetime = 50 * time.Minute })
	old := w.tokens()
	w.cfg.AccessTokenLifetime = 5 * time.Minute
	w.cfg.SigningAlgs = []string{"EdDSA"}
	w.restart()
	first := w.kids()
	if len(first) != 2 {
		t.Fatalf("published: %v", first)
	}
	userinfo(w, old.str("access_token")).want(t, 200, "")
	fresh := w.tokens()
	if decodePart(t, fresh.str("access_token"), 0)["alg"] != "EdDSA" {
		t.Errorf("signed by %v", decodePart(t, fresh.str("access_token"), 0))
	}
	w.clock.advance(49 * time.Minute)
	userinfo(w, old.str("access_token")).want(t, 200, "")
	w.clock.advance(6 * time.Minute)
	if len(w.kids()) != 1 {
		t.Errorf("published: %v", w.kids())
	}
	w.post("gateway", "/backchannel-authentication", "scope", "openid", "id_token_hint", old.str("id_token")).want(t, 200, "")
	w.clock.advance(time.Minute)
	// What is used again gets another key.
	w.cfg.SigningAlgs = []string{"ES256"}
	w.restart()
	if kid := kidOf(t, w.tokens().str("id_token")); slices.Contains(first, kid) {
		t.Error("a retired key signs again")
	}
}

// A record of before there was rotation is taken as it is.
func TestKeysOfBeforeRotation(t *testing.T) {
	w := newWorld(t, nil)
	kid := w.kids()[0]
	stored, err := w.store.Get(t.Context(), "idp.keys", "ES256")
	if err != nil {
		t.Fatal(err)
	}
	var record map[string][]map[string]any
	err = json.Unmarshal(stored.Data, &record)
	if err != nil {
		t.Fatal(err)
	}
	delete(record["keys"][0], "from")
	delete(record["keys"][0], "life")
	stored.Data, err = json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	err = w.store.Update(t.Context(), stored)
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	if kidOf(t, w.tokens().str("id_token")) != kid {
		t.Error("another key signs")
	}
	w.clock.advance(29 * 24 * time.Hour)
	if len(w.kids()) != 2 {
		t.Errorf("published: %v", w.kids())
	}
}
