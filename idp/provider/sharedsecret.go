package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	kindSecret = "idp.secret"

	sharedSecretSize = 32
)

// sharedSecret is a random key that all nodes have in common. The first one to need
// it makes it.
type sharedSecret struct {
	name string

	loading turns // one
	key     atomic.Pointer[[]byte]
}

func newSharedSecret(name string) *sharedSecret {
	return &sharedSecret{name: name, loading: newTurns(1)}
}

// secretRecord is how a shared secret lies in the store.
type secretRecord struct {
	Key    []byte `json:"key,omitempty"`
	Sealed string `json:"sealed,omitempty"`
}

func (s *sharedSecret) place() string { return kindSecret + "/" + s.name }

// get returns the secret. It is read or made once, and then at hand. Whoever does
// that does it for all who wait, and is not broken off with his own request.
func (s *sharedSecret) get(ctx context.Context, p *Provider) ([]byte, error) {
	key := s.key.Load()
	if key != nil {
		return *key, nil
	}
	err := s.loading.take(ctx, keysLoadFor)
	if err != nil {
		return nil, fmt.Errorf("waiting for the secret %s: %w", s.name, err)
	}
	defer s.loading.done()
	key = s.key.Load()
	if key != nil {
		return *key, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysLoadFor)
	defer cancel()
	loaded, err := s.load(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("loading the secret %s: %w", s.name, err)
	}
	s.key.Store(&loaded)
	return loaded, nil
}

func (s *sharedSecret) load(ctx context.Context, p *Provider) ([]byte, error) {
	stored, err := p.cfg.Store.Get(ctx, kindSecret, s.name)
	if errors.Is(err, store.ErrNotFound) {
		err = s.create(ctx, p)
		if err != nil && !errors.Is(err, store.ErrExists) {
			return nil, err
		}
		stored, err = p.cfg.Store.Get(ctx, kindSecret, s.name) // whoever has made it
	}
	if err != nil {
		return nil, err
	}
	var record secretRecord
	err = json.Unmarshal(stored.Data, &record)
	if err != nil {
		return nil, fmt.Errorf("decoding secret: %w", err)
	}
	key := record.Key
	if record.Sealed != "" {
		key, err = p.sealer.open(s.place(), record.Sealed)
		if err != nil {
			return nil, err
		}
	}
	if len(key) != sharedSecretSize {
		return nil, errors.New("secret is not what its record says")
	}
	if p.sealer == nil || record.Sealed != "" && p.sealer.current(record.Sealed) {
		return key, nil
	}
	// It lies there as it is although there is an encryption key now, or is encrypted
	// with one that is not the first any more.
	stored.Data, err = s.encode(p, key)
	if err != nil {
		return nil, err
	}
	err = p.cfg.Store.Update(ctx, stored)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return nil, fmt.Errorf("writing encrypted secret: %w", err)
	}
	return key, nil
}

func (s *sharedSecret) create(ctx context.Context, p *Provider) error {
	key := make([]byte, sharedSecretSize)
	_, err := io.ReadFull(p.cfg.Rand, key)
	if err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	data, err := s.encode(p, key)
	if err != nil {
		return err
	}
	return p.cfg.Store.Create(ctx, &store.Record{Kind: kindSecret, ID: s.name, Data: data})
}

// encode returns the record of a secret, encrypted if there is an encryption key.
func (s *sharedSecret) encode(p *Provider, key []byte) ([]byte, error) {
	record := secretRecord{Key: key}
	if p.sealer != nil {
		sealed, err := p.sealer.seal(p.cfg.Rand, s.place(), key)
		if err != nil {
			return nil, fmt.Errorf("sealing secret: %w", err)
		}
		record = secretRecord{Sealed: sealed}
	}
	data, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encoding secret: %w", err)
	}
	return data, nil
}
