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
	errWrapping   = fmt.Errorf("encryption key must have %d bytes", vaultKeySize)
)

// vault encrypts what must not lie in the store as it is, and derives names that
// nobody can guess. Its keys are made once, by whoever needs them first, and
// kept in the store. They lie there encrypted with the first key of the operator's
// if there are any, and are encrypted anew when that has become another one. It is safe for concurrent use.
type vault struct {
	store    store.Store
	wrapping [][]byte // the operator's keys: the first encrypts, all decrypt
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
	rewrapped := false
	for i, s := range stored {
		key, current, err := v.unwrap(s)
		if err != nil {
			return nil, err
		}
		if !current {
			stored[i].Key, err = v.wrap(s.ID, key.secret)
			if err != nil {
				return nil, err
			}
			stored[i].Wrapped, rewrapped = true, true
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errUnknownKey
	}
	if rewrapped {
		err = v.rewrite(ctx, record, stored)
		if err != nil {
			return nil, err
		}
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
	if len(v.wrapping) > 0 {
		wrapped, err := v.wrap(s.ID, secret)
		if err != nil {
			return nil, err
		}
		s.Key, s.Wrapped = wrapped, true
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

// rewrite replaces the record of the keys, unless another node was faster.
func (v *vault) rewrite(ctx context.Context, record *store.Record, stored []storedKey) error {
	data, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("encoding keys: %w", err)
	}
	err = v.store.Update(ctx, &store.Record{Kind: vaultKind, ID: vaultID, Version: record.Version, Data: data})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("encrypting keys anew: %w", err)
	}
	return nil
}

// wrap encrypts a key of the store with the first one of the operator's.
func (v *vault) wrap(id string, secret []byte) ([]byte, error) {
	aead, err := newGCM(v.wrapping[0])
	if err != nil {
		return nil, err
	}
	return sealWith(aead, v.rand, wrapPlace(id), secret)
}

// unwrap returns a key of the store, and whether it lies there as it should: encrypted
// with the first key of the operator's, or as it is if there are none.
func (v *vault) unwrap(s storedKey) (key vaultKey, current bool, err error) {
	secret, current := s.Key, len(v.wrapping) == 0
	if s.Wrapped {
		secret, current, err = v.openWrapped(s)
		if err != nil {
			return vaultKey{}, false, err
		}
	}
	if len(secret) != vaultKeySize || len(s.ID) != vaultKeyID {
		return vaultKey{}, false, fmt.Errorf("decoding keys: %w", errSealed)
	}
	aead, err := newGCM(secret)
	if err != nil {
		return vaultKey{}, false, err
	}
	return vaultKey{id: s.ID, secret: secret, aead: aead}, current, nil
}

// openWrapped decrypts a key by whichever of the operator's keys fits, and says
// whether that is the first.
func (v *vault) openWrapped(s storedKey) (secret []byte, first bool, err error) {
	for i, wrapping := range v.wrapping {
		aead, err := newGCM(wrapping)
		if err != nil {
			return nil, false, err
		}
		secret, err := openWith(aead, wrapPlace(s.ID), s.Key)
		if err == nil {
			return secret, i == 0, nil
		}
	}
	return nil, false, errWrapped
}

// checkWrapping reports an encryption key that is none.
func checkWrapping(keys [][]byte) error {
	for _, key := range keys {
		if len(key) != vaultKeySize {
			return errWrapping
		}
	}
	return nil
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
