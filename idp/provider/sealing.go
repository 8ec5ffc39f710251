package provider

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// plainPrefix marks what was written while there was no encryption key. It is no
// id of a key, which are hexadecimal.
const plainPrefix = "plain."

// Sealer encrypts what the parts around a provider keep in its store, by the same
// keys and in the same way as the provider's own secrets: AES-256-GCM, with the id
// of the key and the name of the place authenticated. It is safe for concurrent use.
type Sealer struct {
	sealer *sealer
	rand   io.Reader
}

// NewSealer returns a Sealer with the keys of [Config].EncryptionKeys: the first one
// encrypts, all of them decrypt. Without keys data are written as they are. Rand is
// the source of randomness; nil stands for crypto/rand.Reader.
func NewSealer(keys [][]byte, random io.Reader) (*Sealer, error) {
	s, err := newSealer(keys)
	if err != nil {
		return nil, err
	}
	if random == nil {
		random = rand.Reader
	}
	return &Sealer{sealer: s, rand: random}, nil
}

// Seal encrypts data for the named place, for example the kind and id of the record
// that it goes into. It opens there only.
func (s *Sealer) Seal(place string, data []byte) (string, error) {
	if s.sealer == nil {
		return plainPrefix + hex.EncodeToString(data), nil
	}
	return s.sealer.seal(s.rand, place, data)
}

// Open returns what Seal was given for the same place. It fails if the key is not
// there any more. What was written while there were no keys opens with any.
func (s *Sealer) Open(place, text string) ([]byte, error) {
	plain, ok := strings.CutPrefix(text, plainPrefix)
	if !ok {
		return s.sealer.open(place, text)
	}
	data, err := hex.DecodeString(plain)
	if err != nil {
		return nil, fmt.Errorf("decoding plain data: %w", err)
	}
	return data, nil
}
