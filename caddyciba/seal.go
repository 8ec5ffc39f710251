package caddyciba

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// sealInfo separates the keys that are made here from any others.
const sealInfo = "caddyciba pushed outcome v1"

// errSealed says that what was sealed cannot be opened with this token.
var errSealed = errors.New("sealed outcome cannot be opened")

// seal encrypts what was pushed with AES-256-GCM, by a key that only who has the
// notification token can make. The store has no more than the token's hash. Each
// token seals once, so the nonce is random out of caution only.
func seal(token string, body []byte) ([]byte, error) {
	aead, err := sealer(token)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	_, err = io.ReadFull(rand.Reader, nonce)
	if err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	return aead.Seal(nonce, nonce, body, []byte(sealInfo)), nil
}

// unseal is the reverse of seal.
func unseal(token string, sealed []byte) ([]byte, error) {
	aead, err := sealer(token)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errSealed
	}
	body, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(sealInfo))
	if err != nil {
		return nil, errSealed
	}
	return body, nil
}

func sealer(token string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(token), nil, sealInfo, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("making cipher: %w", err)
	}
	return aead, nil
}
