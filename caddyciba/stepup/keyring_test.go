package stepup

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// handClock is moved by hand.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newKeyring(t *testing.T, s store.Store, clock *handClock) *Keyring {
	t.Helper()
	cfg := KeyringConfig{Store: s, Name: "corp", EncryptionKeys: [][]byte{bytes.Repeat([]byte{7}, 32)}}
	if clock != nil {
		cfg.Now = clock.Now
	}
	k, err := NewKeyring(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func current(t *testing.T, k *Keyring) string {
	t.Helper()
	key, err := k.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return key.Thumbprint()
}

func knows(k *Keyring, thumbprint string) bool {
	_, err := k.Find(context.Background(), thumbprint)
	return err == nil
}

// Nodes that need the first key at the same moment have the same one.
func TestKeyringIsMadeOnce(t *testing.T) {
	s := store.NewMemory(store.Options{})
	defer s.Close()
	var mu sync.Mutex
	seen := make(map[string]bool)
	var nodes sync.WaitGroup
	for range 16 {
		k := newKeyring(t, s, nil)
		nodes.Go(func() {
			key, err := k.Current(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[key.Thumbprint()] = true
		})
	}
	nodes.Wait()
	if len(seen) != 1 {
		t.Errorf("there are %d keys", len(seen))
	}
}

// A new key is taken up by all nodes, and the old one serves the tokens that are
// bound to it until nobody can have such a token.
func TestKeyringRotation(t *testing.T) {
	s := store.NewMemory(store.Options{})
	defer s.Close()
	clock := &handClock{now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
	a, b := newKeyring(t, s, clock), newKeyring(t, s, clock)
	first := current(t, a)
	if current(t, b) != first {
		t.Fatal("two nodes have two keys")
	}
	second, err := a.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if second == first || current(t, a) != second {
		t.Errorf("current is %s, want %s", current(t, a), second)
	}
	if current(t, b) != first || !knows(b, second) || !knows(b, first) {
		t.Error("the other node does not find a key that it has not read yet")
	}
	clock.pass(keyringFresh)
	if current(t, b) != second {
		t.Error("the other node goes on with the old key")
	}
	third, err := b.Rotate(t.Context()) // of the version that a has written
	if err != nil {
		t.Fatal(err)
	}
	fourth, err := a.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{first, second, third} {
		if !knows(a, old) {
			t.Errorf("%s is gone too soon", old)
		}
	}
	clock.pass(keyringOverlap)
	_, err = a.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if knows(a, first) || knows(a, third) || !knows(a, fourth) {
		t.Error("keys are kept too long, or not long enough")
	}
	_, err = a.Find(t.Context(), first)
	if !errors.Is(err, ciba.ErrUnknownDPoPKey) {
		t.Errorf("error is %v", err)
	}
	// A restart finds them again.
	if c := newKeyring(t, s, clock); current(t, c) != current(t, a) || !knows(c, fourth) {
		t.Error("a new process has other keys")
	}
}

// Two operators at once make two keys, one after the other.
func TestKeyringRotationRace(t *testing.T) {
	s := store.NewMemory(store.Options{})
	defer s.Close()
	var nodes sync.WaitGroup
	made := make([]string, 2)
	for i := range made {
		k := newKeyring(t, s, nil)
		nodes.Go(func() {
			var err error
			made[i], err = k.Rotate(context.Background())
			if err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
	k := newKeyring(t, s, nil)
	if !knows(k, made[0]) || !knows(k, made[1]) {
		t.Error("a key was lost")
	}
}

// Keys lie in the store encrypted, and a store that fails later does not matter.
func TestKeyringSealedAndStoreDown(t *testing.T) {
	written := &recording{Store: store.NewMemory(store.Options{})}
	clock := &handClock{now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
	k := newKeyring(t, written, clock)
	key := current(t, k)
	for _, secret := range []string{key, `"d":`, `"kty"`, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))} {
		if bytes.Contains(written.written.Bytes(), []byte(secret)) {
			t.Errorf("%q lies in the store as it is", secret)
		}
	}
	wrong, err := NewKeyring(KeyringConfig{Store: written, Name: "corp", EncryptionKeys: [][]byte{bytes.Repeat([]byte{8}, 32)}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.Current(t.Context())
	if err == nil {
		t.Error("keys open without the encryption key")
	}
	err = written.Close()
	if err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Hour)
	if current(t, k) != key {
		t.Error("the key has changed")
	}
	_, err = k.Rotate(t.Context())
	if err == nil || current(t, k) != key {
		t.Errorf("rotated without a store: %v", err)
	}
	_, err = newKeyring(t, written, nil).Current(t.Context())
	if err == nil {
		t.Error("a key was made that no store has taken")
	}
}
