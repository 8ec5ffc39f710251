package stepup

import (
	"context"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// Sealer encrypts what must not lie in a store as it is, with the keys by which gates
// that use the store encrypt requests and answers. It is safe for concurrent use.
type Sealer struct{ vault *vault }

// NewSealer returns a sealer for a store. encryptionKeys are Config.EncryptionKeys of the
// gates. It does not touch the store.
func NewSealer(s store.Store, encryptionKeys [][]byte) (*Sealer, error) {
	ring, err := NewKeyring(KeyringConfig{Store: s, EncryptionKeys: encryptionKeys})
	if err != nil {
		return nil, err
	}
	return &Sealer{vault: ring.cabinet.vault}, nil
}

// Seal encrypts data for one record, in which alone it can be opened again.
func (s *Sealer) Seal(ctx context.Context, kind, id string, data []byte) ([]byte, error) {
	return s.vault.seal(ctx, kind, id, data)
}

// Open decrypts what Seal has returned for the record.
func (s *Sealer) Open(ctx context.Context, kind, id string, sealed []byte) ([]byte, error) {
	return s.vault.open(ctx, kind, id, sealed)
}
