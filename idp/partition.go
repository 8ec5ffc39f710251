package idp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"sync"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// partition is the part of a store that belongs to one issuer. Two providers
// with different issuers may keep their records in one store, as they do by
// default, and must see neither keys nor sessions nor requests of each other,
// even where clients or users have the same names. All nodes with the same
// issuer have the same partition.
type partition struct {
	store.Store

	// suffix is appended to the kind of every record.
	suffix string

	// kinds are the kinds as the whole store knows them, by those of callers,
	// which are few and never come from outside.
	kinds *sync.Map
}

// newPartition returns the part of a store that belongs to an issuer.
func newPartition(whole store.Store, issuer string) partition {
	sum := sha256.Sum256([]byte(issuer))
	// 96 bits are enough: nobody but the operator chooses issuers.
	return partition{Store: whole, suffix: "@" + base64.RawURLEncoding.EncodeToString(sum[:12]), kinds: new(sync.Map)}
}

// kind is how a kind is called in the whole store. A kind that would become too
// long by it is hashed; one that the store must refuse stays as it is.
func (p partition) kind(kind string) string {
	known, ok := p.kinds.Load(kind)
	if ok {
		return known.(string)
	}
	whole := p.wholeKind(kind)
	p.kinds.Store(kind, whole)
	return whole
}

func (p partition) wholeKind(kind string) string {
	switch {
	case kind == "" || len(kind) > store.MaxKind:
		return kind
	case len(kind)+len(p.suffix) > store.MaxKind:
		sum := sha256.Sum256([]byte(kind))
		return base64.RawURLEncoding.EncodeToString(sum[:]) + p.suffix
	default:
		return kind + p.suffix
	}
}

// Create implements store.Store.
func (p partition) Create(ctx context.Context, r *store.Record) error {
	if r == nil {
		return store.ErrInvalid
	}
	inner := *r
	inner.Kind = p.kind(r.Kind)
	err := p.Store.Create(ctx, &inner)
	r.Version = inner.Version
	return err
}

// Get implements store.Store.
func (p partition) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	r, err := p.Store.Get(ctx, p.kind(kind), id)
	if err != nil {
		return nil, err
	}
	r.Kind = kind
	return r, nil
}

// Update implements store.Store.
func (p partition) Update(ctx context.Context, r *store.Record) error {
	if r == nil {
		return store.ErrInvalid
	}
	inner := *r
	inner.Kind = p.kind(r.Kind)
	err := p.Store.Update(ctx, &inner)
	r.Version = inner.Version
	return err
}

// Delete implements store.Store.
func (p partition) Delete(ctx context.Context, kind, id string, version uint64) error {
	return p.Store.Delete(ctx, p.kind(kind), id, version)
}

// List implements store.Store.
func (p partition) List(ctx context.Context, kind string, index store.Index, after string, limit int) ([]*store.Record, error) {
	records, err := p.Store.List(ctx, p.kind(kind), index, after, limit)
	for _, r := range records {
		r.Kind = kind
	}
	return records, err
}

// Watch implements store.Store.
func (p partition) Watch(kind, id string) (changes <-chan struct{}, stop func()) {
	return p.Store.Watch(p.kind(kind), id)
}

// WatchIndex implements store.Store.
func (p partition) WatchIndex(kind string, index store.Index) (changes <-chan struct{}, stop func()) {
	return p.Store.WatchIndex(p.kind(kind), index)
}

// Interface guard
var _ store.Store = partition{}
