package webpush

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// keyKind and keyID name the record of the operator's key.
	keyKind = "idp.push.key"
	keyID   = "vapid"

	// tokenLifetime is how long a token is good that says who sends a message.
	// RFC 8292 section 2 allows a day.
	tokenLifetime = 12 * time.Hour
)

// operatorKey is the key by which push services know that messages come from who
// the browser has subscribed to.
type operatorKey struct {
	public string // as applicationServerKey, in base64url
	signer jose.Signer
}

// PublicKey returns the key that browsers subscribe with (applicationServerKey), in
// base64url. It is made when it is first asked for, and is the same on all nodes
// from then on. Losing it ends all subscriptions.
func (s *Service) PublicKey(ctx context.Context) (string, error) {
	key, err := s.operatorKey(ctx)
	if err != nil {
		return "", err
	}
	return key.public, nil
}

// operatorKey returns the key, from the store if it is not known yet.
func (s *Service) operatorKey(ctx context.Context) (*operatorKey, error) {
	s.mu.Lock()
	key := s.key
	s.mu.Unlock()
	if key != nil {
		return key, nil
	}
	record, err := s.cfg.Store.Get(ctx, keyKind, keyID)
	if errors.Is(err, store.ErrNotFound) {
		record, err = s.makeKey(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key for push messages: %w", err)
	}
	raw, err := s.cfg.Sealer.Open(place(keyKind, keyID), string(record.Data))
	if err != nil {
		return nil, fmt.Errorf("opening the key for push messages: %w", err)
	}
	key, err = newOperatorKey(raw)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.key = key
	s.mu.Unlock()
	return key, nil
}

// makeKey writes a new key, unless another node is first, and returns the one that
// is there.
func (s *Service) makeKey(ctx context.Context) (*store.Record, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	raw, err := private.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	sealed, err := s.cfg.Sealer.Seal(place(keyKind, keyID), raw)
	if err != nil {
		return nil, err
	}
	record := &store.Record{Kind: keyKind, ID: keyID, Data: []byte(sealed)}
	err = s.cfg.Store.Create(ctx, record)
	if errors.Is(err, store.ErrExists) {
		return s.cfg.Store.Get(ctx, keyKind, keyID)
	}
	return record, err
}

func newOperatorKey(raw []byte) (*operatorKey, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, fmt.Errorf("decoding the key for push messages: %w", err)
	}
	public, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding the key for push messages: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("preparing to sign push messages: %w", err)
	}
	return &operatorKey{public: base64.RawURLEncoding.EncodeToString(public), signer: signer}, nil
}

// authorization is the value of the header that says who sends a message
// (RFC 8292 section 3).
func (k *operatorKey) authorization(endpoint *url.URL, contact string, now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{"aud": origin(endpoint), "exp": now.Add(tokenLifetime).Unix(), "sub": contact})
	if err != nil {
		return "", fmt.Errorf("encoding token: %w", err)
	}
	signed, err := k.signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("encoding token: %w", err)
	}
	return "vapid t=" + token + ", k=" + k.public, nil
}

// place names a record, for what is sealed in it.
func place(kind, id string) string { return kind + "/" + id }
