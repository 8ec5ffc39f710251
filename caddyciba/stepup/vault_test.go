package stepup

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// recording is a store that keeps all that was ever written to it.
type recording struct {
	store.Store
	mu      sync.Mutex
	written bytes.Buffer
}

func (s *recording) note(r *store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written.WriteString(r.Kind + " " + r.ID + " ")
	for _, x := range r.Indexes {
		s.written.WriteString(x.Name + " " + x.Value + " ")
	}
	s.written.Write(r.Data)
}

func (s *recording) Create(ctx context.Context, r *store.Record) error {
	s.note(r)
	return s.Store.Create(ctx, r)
}

func (s *recording) Update(ctx context.Context, r *store.Record) error {
	s.note(r)
	return s.Store.Update(ctx, r)
}

// Of a kept request, neither the body, the answer, a token, the provider's name
// for the request, the address of the status nor what opens it lies in the store
// as it is (INV-11). With an encryption key, nor do the keys.
func TestKeptIsSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := &recording{Store: store.NewMemory(store.Options{})}
		defer written.Close()
		b := newBench(t, answering(201, "canary-of-the-answer"), func(cfg *Config) {
			cfg.Store = written
			cfg.EncryptionKeys = [][]byte{bytes.Repeat([]byte{7}, 32)}
		})
		auto(b)
		decide := b.undecided()
		location := b.start(t, "canary-of-the-body", map[string][]string{"X-Canary": {"canary-of-a-header"}})
		close(decide)
		synctest.Wait()
		id := b.only(t).ID
		cookie, err := b.gate.vault.cookieSecret(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		form, err := b.gate.vault.formSecret(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		dump := written.written.String()
		secrets := []string{
			"canary", testToken, cookie, form, strings.TrimPrefix(location, statusPrefix),
			base64.StdEncoding.EncodeToString(b.gate.vault.keys[0].secret),
		}
		for i, secret := range secrets {
			for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(dump, strings.TrimRight(form, "=")) {
					t.Errorf("secret %d lies in the store", i)
				}
			}
		}
		if !strings.Contains(dump, id) {
			t.Error("the dump does not have the transaction: this proves nothing")
		}

		// Another node needs the same key.
		for name, key := range map[string][][]byte{"none": nil, "another": {bytes.Repeat([]byte{8}, 32)}} {
			v := &vault{store: written, wrapping: key, rand: b.gate.vault.rand, now: b.gate.now}
			_, err := v.handle(t.Context(), id)
			if !errors.Is(err, errWrapped) {
				t.Errorf("with encryption key %s: %v", name, err)
			}
		}
		v := &vault{store: written, wrapping: [][]byte{bytes.Repeat([]byte{7}, 32)}, rand: b.gate.vault.rand, now: b.gate.now}
		path, err := v.statusPath(t.Context(), id)
		if err != nil || path != location {
			t.Errorf("another node has %q, %v", path, err)
		}
	})
}

// What was sealed for one record opens in no other, and not after a change.
func TestSealIsBound(t *testing.T) {
	b := newBench(t, answering(201, ""))
	v, ctx := b.gate.vault, t.Context()
	sealed, err := v.seal(ctx, caseKind, "1", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := v.open(ctx, caseKind, "1", sealed)
	if err != nil || string(text) != "text" {
		t.Fatalf("opened to %q, %v", text, err)
	}
	for name, place := range map[string][2]string{"another id": {caseKind, "2"}, "another kind": {requestKind, "1"}} {
		_, err := v.open(ctx, place[0], place[1], sealed)
		if !errors.Is(err, errSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		_, err := v.open(ctx, caseKind, "1", changed)
		if err == nil {
			t.Errorf("opened after a change of byte %d", i)
		}
		_, err = v.open(ctx, caseKind, "1", sealed[:i])
		if err == nil {
			t.Errorf("opened after a cut at byte %d", i)
		}
	}
}

// However many begin at once, a store has one set of keys.
func TestVaultRace(t *testing.T) {
	shared := store.NewMemory(store.Options{})
	defer shared.Close()
	var all sync.WaitGroup
	paths := make([]string, 32)
	for i := range paths {
		b := newBench(t, answering(201, ""), func(cfg *Config) { cfg.Store = shared })
		all.Go(func() {
			path, err := b.gate.vault.statusPath(t.Context(), "00000000-0000-4000-8000-000000000000")
			if err != nil {
				t.Error(err)
			}
			paths[i] = path
		})
	}
	all.Wait()
	for _, path := range paths {
		if path != paths[0] {
			t.Fatal("two processes have different keys")
		}
	}
}

// An encryption key is added, replaced by way of both, and needed from then on; the
// addresses that callers have stay good throughout.
func TestEncryptionKeyReplaced(t *testing.T) {
	b := newBench(t, answering(201, ""))
	one, two := bytes.Repeat([]byte{1}, vaultKeySize), bytes.Repeat([]byte{2}, vaultKeySize)
	node := func(keys ...[]byte) *vault {
		return &vault{store: b.store, wrapping: keys, rand: b.gate.vault.rand, now: b.gate.now}
	}
	want, err := b.gate.vault.statusPath(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	secret := b.gate.vault.keys[0].secret
	for _, step := range []struct {
		name  string
		keys  [][]byte
		good  bool
		plain bool // in the store
	}{
		{name: "without", good: true, plain: true},
		{name: "added", keys: [][]byte{one}, good: true},
		{name: "left out", keys: nil},
		{name: "the other", keys: [][]byte{two}},
		{name: "new one behind", keys: [][]byte{one, two}, good: true},
		{name: "new one before", keys: [][]byte{two, one}, good: true},
		{name: "old one", keys: [][]byte{one}},
		{name: "new one", keys: [][]byte{two}, good: true},
	} {
		t.Run(step.name, func(t *testing.T) {
			got, err := node(step.keys...).statusPath(t.Context(), "1")
			if !step.good && !errors.Is(err, errWrapped) || step.good && (err != nil || got != want) {
				t.Errorf("address %q, error %v", got, err)
			}
			r, err := b.store.Get(t.Context(), vaultKind, vaultID)
			if err != nil {
				t.Fatal(err)
			}
			plain := bytes.Contains(r.Data, []byte(base64.StdEncoding.EncodeToString(secret)))
			if plain != step.plain {
				t.Errorf("the key lies in the store as it is: %t", plain)
			}
		})
	}
	_, err = New(Config{Client: b.client, Store: b.store, EncryptionKeys: [][]byte{one, one[1:]}})
	if !errors.Is(err, errWrapping) {
		t.Errorf("a key that is too short: %v", err)
	}
}
