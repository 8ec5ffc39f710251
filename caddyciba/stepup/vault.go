package stepup

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// vaultKind and vaultID name the record with the keys of a store. All gates and
	// nodes that share the store share the keys.
	vaultKind = "gateway.keys"
	vaultID   = "keys"

	// vaultKeySize is the size of a key in bytes: AES-256, and HMAC-SHA-256.
	vaultKeySize = 32

	// sealedVersion is the first byte of everything that is sealed.
	sealedVersion = 1

	// vaultKeyID is the length of a key's id in bytes.
	vaultKeyID = 16

	// sealOverhead is by how much sealed data is longer: version, key id, nonce and
	// tag.
	sealOverhead = 1 + vaultKeyID + 12 + 16
)

var (
	errSealed     = errors.New("sealed data cannot be opened")
	errUnknownKey = errors.New("sealed data was sealed with a key that is not there")
	errWrapped    = errors.New("keys in the store are encrypted with an encryption key that is not configured")
)

// vault encrypts what must not lie in the store as it is, and derives names that
// nobody can guess. Its keys are made once, by whoever needs them first, and
// kept in the store. They lie there encrypted with a key of the operator's if
// there is one. It is safe for concurrent use.
type vault struct {
	store    store.Store
	wrapping []byte // the operator's key, or nil
	rand     io.Reader
	now      func() time.Time

	mu   sync.Mutex
	keys []vaultKey // the first one is in use; nil before they were read
}

type vaultKey struct {
	id     string
	secret []byte
	aead   cipher.AEAD
}

// storedKey is one key in the record. Key is as it is, or sealed with the
// operator's key, as Wrapped says.
type storedKey struct {
	ID      string    `json:"id"`
	Key     []byte    `json:"key"`
	Wrapped bool      `json:"wrapped,omitempty"`
	Made    time.Time `json:"made"`
}

// ready reads the keys, and makes the first one where there is none.
func (v *vault) ready(ctx context.Context) ([]vaultKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != nil {
		return v.keys, nil
	}
	ctx, cancel := storeContext(ctx)
	defer cancel()
	record, err := v.store.Get(ctx, vaultKind, vaultID)
	if errors.Is(err, store.ErrNotFound) {
		record, err = v.create(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	var stored []storedKey
	err = json.Unmarshal(record.Data, &stored)
	if err != nil {
		return nil, fmt.Errorf("decoding keys: %w", err)
	}
	var keys []vaultKey
	for _, s := range stored {
		key, err := v.unwrap(s)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errUnknownKey
	}
	v.keys = keys
	return keys, nil
}

// create writes a first key, unless somebody else has written one meanwhile.
func (v *vault) create(ctx context.Context) (*store.Record, error) {
	secret, name := make([]byte, vaultKeySize), make([]byte, vaultKeyID*3/4)
	for _, random := range [][]byte{secret, name} {
		_, err := io.ReadFull(v.rand, random)
		if err != nil {
			return nil, fmt.Errorf("reading random bytes: %w", err)
		}
	}
	s := storedKey{ID: base64.RawURLEncoding.EncodeToString(name), Key: secret, Made: v.now().UTC()}
	if v.wrapping != nil {
		aead, err := newGCM(v.wrapping)
		if err != nil {
			return nil, err
		}
		s.Key, err = sealWith(aead, v.rand, wrapPlace(s.ID), secret)
		if err != nil {
			return nil, err
		}
		s.Wrapped = true
	}
	data, err := json.Marshal([]storedKey{s})
	if err != nil {
		return nil, fmt.Errorf("encoding keys: %w", err)
	}
	record := &store.Record{Kind: vaultKind, ID: vaultID, Data: data}
	err = v.store.Create(ctx, record)
	if errors.Is(err, store.ErrExists) {
		return v.store.Get(ctx, vaultKind, vaultID)
	}
	return record, err
}

func (v *vault) unwrap(s storedKey) (vaultKey, error) {
	secret := s.Key
	if s.Wrapped {
		if v.wrapping == nil {
			return vaultKey{}, errWrapped
		}
		aead, err := newGCM(v.wrapping)
		if err != nil {
			return vaultKey{}, err
		}
		secret, err = openWith(aead, wrapPlace(s.ID), s.Key)
		if err != nil {
			return vaultKey{}, errWrapped
		}
	}
	if len(secret) != vaultKeySize || len(s.ID) != vaultKeyID {
		return vaultKey{}, fmt.Errorf("decoding keys: %w", errSealed)
	}
	aead, err := newGCM(secret)
	if err != nil {
		return vaultKey{}, err
	}
	return vaultKey{id: s.ID, secret: secret, aead: aead}, nil
}

func wrapPlace(id string) string { return "gateway key\x00" + id }

// seal encrypts data for one record. What was sealed for one record opens in no
// other.
func (v *vault) seal(ctx context.Context, kind, id string, data []byte) ([]byte, error) {
	keys, err := v.ready(ctx)
	if err != nil {
		return nil, err
	}
	key := keys[0]
	sealed, err := sealWith(key.aead, v.rand, sealedPlace(key.id, kind, id), data)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{sealedVersion}, key.id...), sealed...), nil
}

// open decrypts what seal returned for the same record.
func (v *vault) open(ctx context.Context, kind, id string, sealed []byte) ([]byte, error) {
	keys, err := v.ready(ctx)
	if err != nil {
		return nil, err
	}
	if len(sealed) < sealOverhead || sealed[0] != sealedVersion {
		return nil, errSealed
	}
	name := string(sealed[1 : 1+vaultKeyID])
	for _, key := range keys {
		if key.id == name {
			return openWith(key.aead, sealedPlace(name, kind, id), sealed[1+vaultKeyID:])
		}
	}
	return nil, errUnknownKey
}

// sealedPlace is what is authenticated with sealed data: where it belongs and by
// which key it was sealed.
func sealedPlace(key, kind, id string) string { return key + "\x00" + kind + "\x00" + id }

// derive returns a secret name for a purpose and a subject: 256 bits that only
// who has the key can find.
func (k vaultKey) derive(purpose, subject string) []byte {
	mac := hmac.New(sha256.New, k.secret)
	form := canonicalWriter{w: mac}
	form.text("caddyciba " + purpose + " v1")
	form.text(subject)
	return mac.Sum(nil)
}

func newGCM(key []byte) (cipher.AEAD, error) {
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

func sealWith(aead cipher.AEAD, random io.Reader, place string, data []byte) ([]byte, error) {
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(data)+aead.Overhead())
	_, err := io.ReadFull(random, nonce)
	if err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	return aead.Seal(nonce, nonce, data, []byte(place)), nil
}

func openWith(aead cipher.AEAD, place string, sealed []byte) ([]byte, error) {
	if len(sealed) < aead.NonceSize() {
		return nil, errSealed
	}
	data, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(place))
	if err != nil {
		return nil, errSealed
	}
	return data, nil
}
