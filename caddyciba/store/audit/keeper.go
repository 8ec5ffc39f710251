package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// Keeper keeps in a store what logs need: the key that signs checkpoints, which all
// nodes share, and of each log the last checkpoint. It is safe for concurrent use.
type Keeper struct {
	// Store is where. Required.
	Store store.Store

	// Kind is the kind of the records. Required.
	Kind string

	// Seal and Open encrypt the key. Required.
	Seal func(ctx context.Context, id string, data []byte) ([]byte, error)
	Open func(ctx context.Context, id string, sealed []byte) ([]byte, error)

	// Rand is the source of the key. Default: crypto/rand.Reader.
	Rand io.Reader
}

const keyRecord = "key"

// Key returns the key, which is made when it is first asked for.
func (k *Keeper) Key(ctx context.Context) (ed25519.PrivateKey, error) {
	record, err := k.Store.Get(ctx, k.Kind, keyRecord)
	if errors.Is(err, store.ErrNotFound) {
		record, err = k.makeKey(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("reading key of audit log: %w", err)
	}
	seed, err := k.Open(ctx, keyRecord, record.Data)
	if err != nil {
		return nil, fmt.Errorf("reading key of audit log: %w", err)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, errors.New("key of audit log is damaged")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func (k *Keeper) makeKey(ctx context.Context) (*store.Record, error) {
	random := k.Rand
	if random == nil {
		random = rand.Reader
	}
	seed := make([]byte, ed25519.SeedSize)
	_, err := io.ReadFull(random, seed)
	if err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	sealed, err := k.Seal(ctx, keyRecord, seed)
	if err != nil {
		return nil, err
	}
	record := &store.Record{Kind: k.Kind, ID: keyRecord, Data: sealed}
	err = k.Store.Create(ctx, record)
	if errors.Is(err, store.ErrExists) {
		return k.Store.Get(ctx, k.Kind, keyRecord) // of another node
	}
	return record, err
}

// headID names the record of a log.
func headID(log string) string {
	sum := sha256.Sum256([]byte(log))
	return "head-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// Last returns the last checkpoint of a log that was kept. It is zero if there is
// none.
func (k *Keeper) Last(ctx context.Context, log string) (Checkpoint, error) {
	record, err := k.Store.Get(ctx, k.Kind, headID(log))
	if errors.Is(err, store.ErrNotFound) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading checkpoint: %w", err)
	}
	var c Checkpoint
	err = json.Unmarshal(record.Data, &c)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("decoding checkpoint: %w", err)
	}
	return c, nil
}

// Keep replaces the last checkpoint of a log.
func (k *Keeper) Keep(ctx context.Context, log string, c Checkpoint) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding checkpoint: %w", err)
	}
	record, err := k.Store.Get(ctx, k.Kind, headID(log))
	if errors.Is(err, store.ErrNotFound) {
		return k.Store.Create(ctx, &store.Record{Kind: k.Kind, ID: headID(log), Data: data})
	}
	if err != nil {
		return err
	}
	record.Data = data
	return k.Store.Update(ctx, record)
}
