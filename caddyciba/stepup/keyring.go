package stepup

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// keyringKind is the kind of the records with the keys of a keyring.
	keyringKind = "gateway.dpop"

	// keyringFresh is how long keys are used before they are read again, so that
	// all nodes learn of a new one.
	keyringFresh = time.Minute

	// keyringOverlap is how long a key is kept after another one has taken its
	// place: longer than any token that is bound to it can be on its way, or be
	// reused.
	keyringOverlap = 48 * time.Hour

	// keyringAttempts bounds how often a rotation is tried against other nodes.
	keyringAttempts = 4
)

// KeyringConfig configures a Keyring.
type KeyringConfig struct {
	// Store keeps the keys. Required.
	Store store.Store

	// Name tells the keys from others in the store, for example Config.Name of the
	// gate that uses them. All nodes that share them have the same.
	Name string

	// EncryptionKeys are Config.EncryptionKeys of the gate. Optional.
	EncryptionKeys [][]byte

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Rand is the source of keys and nonces. Default: crypto/rand.Reader.
	Rand io.Reader
}

// Keyring keeps the keys of DPoP proofs (ES256) in the store, sealed as kept requests
// are. The first one is made when it is first needed. All nodes that share the store
// share the keys, so that a token which one node has got can be used by another.
// It implements [ciba.DPoPKeys] and is safe for concurrent use.
type Keyring struct {
	cabinet *cabinet
	name    string
	now     func() time.Time
	rand    io.Reader

	mu      sync.Mutex
	keys    []ringKey // the first one is current
	version uint64
	read    time.Time
}

// ringKey is one key, as it is used and as it is stored.
type ringKey struct {
	Key *jose.JSONWebKey `json:"key"`

	// Made and Retired are when it was made and when another one took its place,
	// which is zero for the current one.
	Made    time.Time `json:"made"`
	Retired time.Time `json:"retired,omitzero"`

	proving *ciba.DPoPKey
}

// NewKeyring returns a keyring. It does not touch the store.
func NewKeyring(cfg KeyringConfig) (*Keyring, error) {
	if cfg.Store == nil {
		return nil, errors.New("keyring needs a store")
	}
	err := checkWrapping(cfg.EncryptionKeys)
	if err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	v := &vault{store: cfg.Store, wrapping: cfg.EncryptionKeys, rand: cfg.Rand, now: cfg.Now}
	return &Keyring{
		cabinet: &cabinet{store: cfg.Store, vault: v, now: cfg.Now},
		name:    cfg.Name,
		now:     cfg.Now,
		rand:    cfg.Rand,
	}, nil
}

// Current implements ciba.DPoPKeys. Keys that were read before serve on while the
// store fails.
func (k *Keyring) Current(ctx context.Context) (*ciba.DPoPKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.read.IsZero() || k.now().Sub(k.read) >= keyringFresh {
		err := k.load(ctx)
		if err != nil && len(k.keys) == 0 {
			return nil, err
		}
	}
	return k.keys[0].proving, nil
}

// Find implements ciba.DPoPKeys. A key that another node has made is looked for in
// the store.
func (k *Keyring) Find(ctx context.Context, thumbprint string) (*ciba.DPoPKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := k.find(thumbprint)
	if found != nil {
		return found, nil
	}
	err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	found = k.find(thumbprint)
	if found == nil {
		return nil, ciba.ErrUnknownDPoPKey
	}
	return found, nil
}

func (k *Keyring) find(thumbprint string) *ciba.DPoPKey {
	for _, key := range k.keys {
		if key.proving.Thumbprint() == thumbprint {
			return key.proving
		}
	}
	return nil
}

// Rotate makes a new key, to which all later tokens are bound, and returns its
// thumbprint. Tokens that are bound to earlier keys can be used for 48 hours more.
// Other nodes have the new key within a minute.
func (k *Keyring) Rotate(ctx context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var err error
	for range keyringAttempts {
		err = k.rotate(ctx)
		if !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("rotating DPoP key: %w", err)
	}
	return k.keys[0].proving.Thumbprint(), nil
}

func (k *Keyring) rotate(ctx context.Context) error {
	err := k.load(ctx)
	if err != nil {
		return err
	}
	made, err := k.make()
	if err != nil {
		return err
	}
	now := k.now().UTC()
	keys := []ringKey{made}
	for _, old := range k.keys {
		if old.Retired.IsZero() {
			old.Retired = now
		}
		if now.Sub(old.Retired) < keyringOverlap {
			keys = append(keys, old)
		}
	}
	return k.write(ctx, keys, k.version)
}

// load reads the keys, and makes the first one where there is none.
func (k *Keyring) load(ctx context.Context) error {
	data, version, err := k.cabinet.get(ctx, keyringKind, k.name)
	if errors.Is(err, store.ErrNotFound) {
		var made ringKey
		made, err = k.make()
		if err != nil {
			return err
		}
		err = k.write(ctx, []ringKey{made}, 0)
		if !errors.Is(err, store.ErrExists) {
			return err
		}
		// Another node was faster.
		data, version, err = k.cabinet.get(ctx, keyringKind, k.name)
	}
	if err != nil {
		return fmt.Errorf("reading DPoP keys: %w", err)
	}
	if version == k.version {
		k.read = k.now()
		return nil
	}
	var keys []ringKey
	err = json.Unmarshal(data, &keys)
	if err != nil || len(keys) == 0 {
		return errors.New("reading DPoP keys: record is damaged")
	}
	for i := range keys {
		keys[i].proving, err = ciba.NewDPoPKey(keys[i].Key, "")
		if err != nil {
			return fmt.Errorf("reading DPoP keys: %w", err)
		}
	}
	k.keys, k.version, k.read = keys, version, k.now()
	return nil
}

// write stores keys in the place of the version given, and uses them.
func (k *Keyring) write(ctx context.Context, keys []ringKey, version uint64) error {
	data, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("encoding DPoP keys: %w", err)
	}
	version, err = k.cabinet.put(ctx, keyringKind, k.name, version, data, time.Time{})
	if err != nil {
		return err
	}
	k.keys, k.version, k.read = keys, version, k.now()
	return nil
}

func (k *Keyring) make() (ringKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), k.rand)
	if err != nil {
		return ringKey{}, fmt.Errorf("making DPoP key: %w", err)
	}
	made := ringKey{Key: &jose.JSONWebKey{Key: private}, Made: k.now().UTC()}
	made.proving, err = ciba.NewDPoPKey(made.Key, "")
	return made, err
}
