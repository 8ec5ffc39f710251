package provider

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// sealKeySize is the size of an encryption key in bytes (AES-256).
const sealKeySize = 32

// sealer encrypts what must not lie in the store as it is. It is AES-256-GCM; the
// id of the key and the name of the record are authenticated with it, so that
// what was sealed for one place does not open in another.
type sealer struct {
	keys []sealKey
}

type sealKey struct {
	id   string
	aead cipher.AEAD
}

// newSealer returns a sealer, or nil if there are no keys.
func newSealer(keys [][]byte) (*sealer, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	s := &sealer{}
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("making cipher: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("making cipher: %w", err)
		}
		sum := sha256.Sum256(append([]byte("caddyciba idp seal key id\x00"), key...))
		s.keys = append(s.keys, sealKey{id: hex.EncodeToString(sum[:8]), aead: aead})
	}
	return s, nil
}

// seal encrypts data for the named place with the first key.
func (s *sealer) seal(rand io.Reader, place string, data []byte) (string, error) {
	key := s.keys[0]
	nonce := make([]byte, key.aead.NonceSize())
	_, err := io.ReadFull(rand, nonce)
	if err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	sealed := key.aead.Seal(nonce, nonce, data, sealContext(key.id, place))
	return key.id + "." + hex.EncodeToString(sealed), nil
}

// open decrypts what seal returned for the same place.
func (s *sealer) open(place, text string) ([]byte, error) {
	id, body, _ := strings.Cut(text, ".")
	sealed, err := hex.DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("decoding sealed data: %w", err)
	}
	if s == nil {
		return nil, errors.New("data is encrypted and there is no encryption key")
	}
	for _, key := range s.keys {
		if key.id != id || len(sealed) < key.aead.NonceSize() {
			continue
		}
		size := key.aead.NonceSize()
		data, err := key.aead.Open(nil, sealed[:size], sealed[size:], sealContext(id, place))
		if err != nil {
			return nil, fmt.Errorf("opening sealed data: %w", err)
		}
		return data, nil
	}
	return nil, fmt.Errorf("data is encrypted with key %q, which is not configured", id)
}

// current reports whether text was sealed with the first key. What was sealed with
// another one is sealed again, so that the other can be given up.
func (s *sealer) current(text string) bool {
	id, _, _ := strings.Cut(text, ".")
	return id == s.keys[0].id
}

func sealContext(id, place string) []byte {
	return []byte(id + "\x00" + place)
}
