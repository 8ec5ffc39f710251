package provider

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	kindKeys = "idp.keys"

	// rsaBits is the size of RSA keys that are made.
	rsaBits = 2048

	// keysFreshFor is how long keys are used before the store is asked for
	// newer ones, so that every node comes to know of a rotation by another.
	keysFreshFor = time.Minute
)

// signingKey is one key of ours with its signers.
type signingKey struct {
	alg    string
	public jose.JSONWebKey
	id     jose.Signer // for ID Tokens, typ JWT
	access jose.Signer // for access tokens, typ at+jwt
}

// keySet is all keys of ours at one time. It is not changed once it is made.
type keySet struct {
	active map[string]*signingKey // by algorithm
	public []jose.JSONWebKey      // also retired ones, as long as they verify
	jwks   []byte
	loaded time.Time
}

// keysRecord is how the keys of one algorithm lie in the store, the newest last.
type keysRecord struct {
	Keys []keyEntry `json:"keys"`
}

type keyEntry struct {
	ID      string          `json:"kid"`
	Created int64           `json:"created"` // Unix seconds
	JWK     json.RawMessage `json:"jwk,omitempty"`
	Sealed  string          `json:"sealed,omitempty"`
}

// keys returns the current keys. The first call loads or makes them. Later the
// store is asked again once a minute; if it does not answer, the keys at hand
// stay in use.
func (p *Provider) keys(ctx context.Context) (*keySet, error) {
	set := p.keySet.Load()
	now := p.now()
	if set != nil && now.Sub(set.loaded) < keysFreshFor && !now.Before(set.loaded) {
		return set, nil
	}
	p.keyLoad.Lock()
	defer p.keyLoad.Unlock()
	current := p.keySet.Load()
	if current != set {
		return current, nil // somebody else has loaded them while we waited
	}
	fresh, err := p.loadKeys(ctx)
	if err != nil {
		if set == nil {
			return nil, fmt.Errorf("loading signing keys: %w", err)
		}
		p.log.Error("loading signing keys failed, going on with those at hand", zap.Error(err))
		stale := *set
		stale.loaded = now
		fresh = &stale
	}
	p.keySet.Store(fresh)
	return fresh, nil
}

// loadKeys reads the keys of all algorithms and makes those that are missing.
func (p *Provider) loadKeys(ctx context.Context) (*keySet, error) {
	set := &keySet{active: make(map[string]*signingKey), loaded: p.now()}
	for _, alg := range p.signingAlgs {
		record, err := p.loadKeysRecord(ctx, alg)
		if err != nil {
			return nil, fmt.Errorf("loading %s keys: %w", alg, err)
		}
		for _, entry := range record.Keys {
			key, err := p.openKey(alg, entry)
			if err != nil {
				return nil, fmt.Errorf("opening %s key %s: %w", alg, entry.ID, err)
			}
			set.active[alg] = key
			set.public = append(set.public, key.public)
		}
		if set.active[alg] == nil {
			return nil, fmt.Errorf("the store has no %s key in its record", alg)
		}
	}
	var err error
	set.jwks, err = json.Marshal(jose.JSONWebKeySet{Keys: set.public})
	if err != nil {
		return nil, fmt.Errorf("encoding JWKS: %w", err)
	}
	return set, nil
}

// loadKeysRecord returns the record of one algorithm. Of several nodes that find
// none, one creates it and the others take what that one made.
func (p *Provider) loadKeysRecord(ctx context.Context, alg string) (*keysRecord, error) {
	for range 3 {
		stored, err := p.cfg.Store.Get(ctx, kindKeys, alg)
		if err == nil {
			return p.readKeysRecord(ctx, alg, stored)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		record, err := p.newKeysRecord(alg)
		if err != nil {
			return nil, err
		}
		data, err := json.Marshal(record)
		if err != nil {
			return nil, err
		}
		err = p.cfg.Store.Create(ctx, &store.Record{Kind: kindKeys, ID: alg, Data: data})
		if err == nil {
			p.log.Info("made a signing key", zap.String("alg", alg), zap.String("kid", record.Keys[0].ID))
			return record, nil
		}
		if !errors.Is(err, store.ErrExists) {
			return nil, err
		}
	}
	return nil, errors.New("the record of keys comes and goes")
}

// newKeysRecord makes a key pair for one algorithm. The key id is the thumbprint
// of the public key (RFC 7638).
func (p *Provider) newKeysRecord(alg string) (*keysRecord, error) {
	private, err := p.generateKey(alg)
	if err != nil {
		return nil, fmt.Errorf("generating key: %w", err)
	}
	jwk := jose.JSONWebKey{Key: private, Algorithm: alg, Use: "sig"}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("computing thumbprint: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	data, err := jwk.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	record := &keysRecord{Keys: []keyEntry{{ID: jwk.KeyID, Created: p.now().Unix(), JWK: data}}}
	_, err = p.sealKeys(alg, record)
	return record, err
}

// readKeysRecord decodes a record. Keys that lie there unencrypted although there
// is an encryption key now are encrypted on this occasion.
func (p *Provider) readKeysRecord(ctx context.Context, alg string, stored *store.Record) (*keysRecord, error) {
	var record keysRecord
	err := json.Unmarshal(stored.Data, &record)
	if err != nil {
		return nil, fmt.Errorf("decoding keys: %w", err)
	}
	changed, err := p.sealKeys(alg, &record)
	if err != nil || !changed {
		return &record, err
	}
	stored.Data, err = json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encoding keys: %w", err)
	}
	err = p.cfg.Store.Update(ctx, stored)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return nil, fmt.Errorf("writing encrypted keys: %w", err)
	}
	return &record, nil
}

// sealKeys encrypts the keys of the record that are not, and reports whether
// there was one. Without an encryption key it does nothing.
func (p *Provider) sealKeys(alg string, record *keysRecord) (bool, error) {
	changed := false
	for i := range record.Keys {
		entry := &record.Keys[i]
		if p.sealer == nil || entry.Sealed != "" {
			continue
		}
		sealed, err := p.sealer.seal(p.cfg.Rand, keyPlace(alg, entry.ID), entry.JWK)
		if err != nil {
			return false, fmt.Errorf("sealing key: %w", err)
		}
		entry.Sealed, entry.JWK = sealed, nil
		changed = true
	}
	return changed, nil
}

func keyPlace(alg, kid string) string { return kindKeys + "/" + alg + "/" + kid }

func (p *Provider) generateKey(alg string) (crypto.Signer, error) {
	switch jose.SignatureAlgorithm(alg) {
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), p.cfg.Rand)
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(p.cfg.Rand)
		return private, err
	case jose.PS256, jose.RS256:
		return rsa.GenerateKey(p.cfg.Rand, rsaBits)
	}
	return nil, fmt.Errorf("unknown signing algorithm %q", alg)
}

// openKey turns a stored entry into a key that signs.
func (p *Provider) openKey(alg string, entry keyEntry) (*signingKey, error) {
	data := []byte(entry.JWK)
	if entry.Sealed != "" {
		var err error
		data, err = p.sealer.open(keyPlace(alg, entry.ID), entry.Sealed)
		if err != nil {
			return nil, err
		}
	}
	var jwk jose.JSONWebKey
	err := jwk.UnmarshalJSON(data)
	if err != nil {
		return nil, fmt.Errorf("decoding key: %w", err)
	}
	public := jwk.Public()
	if jwk.KeyID != entry.ID || jwk.Algorithm != alg || !public.Valid() || len(keyAlgs(public)) == 0 {
		return nil, errors.New("key is not what its record says")
	}
	key := &signingKey{alg: alg, public: public}
	key.id, err = newSigner(alg, jwk, "JWT")
	if err != nil {
		return nil, err
	}
	key.access, err = newSigner(alg, jwk, accessTokenType)
	if err != nil {
		return nil, err
	}
	return key, nil
}

func newSigner(alg string, jwk jose.JSONWebKey, typ jose.ContentType) (jose.Signer, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: jwk.Key, KeyID: jwk.KeyID}},
		(&jose.SignerOptions{}).WithType(typ),
	)
	if err != nil {
		return nil, fmt.Errorf("making signer: %w", err)
	}
	return signer, nil
}

// signJWT signs claims as a compact JWT.
func signJWT(signer jose.Signer, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("serializing token: %w", err)
	}
	return token, nil
}
