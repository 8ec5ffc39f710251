package webpush

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Sizes of what RFC 8188 and RFC 8291 work with, in bytes.
const (
	saltSize   = 16
	secretSize = 16 // the authentication secret of a subscription
	pointSize  = 65 // a public key on P-256, uncompressed
	recordSize = 4096
)

// lastRecord ends the plaintext of the only record (RFC 8188 section 2).
const lastRecord = 0x02

// encrypt encrypts a message to a subscription, as the content coding aes128gcm
// (RFC 8291 section 3). Key and salt must be new for each message.
func encrypt(to *ecdh.PublicKey, secret []byte, key *ecdh.PrivateKey, salt, message []byte) ([]byte, error) {
	shared, err := key.ECDH(to)
	if err != nil {
		return nil, fmt.Errorf("agreeing on a key: %w", err)
	}
	own := key.PublicKey().Bytes()
	info := string(bytes.Join([][]byte{[]byte("WebPush: info\x00"), to.Bytes(), own}, nil))
	material, err := hkdf.Key(sha256.New, shared, secret, info, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving keys: %w", err)
	}
	contentKey, err := hkdf.Key(sha256.New, material, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, fmt.Errorf("deriving keys: %w", err)
	}
	nonce, err := hkdf.Key(sha256.New, material, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, fmt.Errorf("deriving keys: %w", err)
	}
	block, err := aes.NewCipher(contentKey)
	if err != nil {
		return nil, fmt.Errorf("making cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("making cipher: %w", err)
	}
	body := bytes.Clone(salt)
	body = binary.BigEndian.AppendUint32(body, recordSize)
	body = append(body, byte(len(own)))
	body = append(body, own...)
	return aead.Seal(body, nonce, append(bytes.Clone(message), lastRecord), nil), nil
}
