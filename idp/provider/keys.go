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
	"slices"
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

	// keysRetry is when the store is asked again if it has not answered.
	keysRetry = 5 * time.Second

	// keysLoadFor bounds how long that takes, and how long somebody waits for it.
	keysLoadFor = 5 * time.Second

	// keysSignFor is for how long tokens are signed if it does not. A node that
	// can't see the plan any more must not go on with a key that is retired in
	// the meantime.
	keysSignFor = 3 * time.Minute
)

// signingKey is one key of ours with its signers.
type signingKey struct {
	alg    string
	public jose.JSONWebKey
	id     *jwtSigner // for ID Tokens
	access *jwtSigner // for access tokens
}

// keySet is all keys of ours at one time. It is not changed once it is made.
type keySet struct {
	active map[string]*signingKey // by algorithm
	public []jose.JSONWebKey      // those that tokens are verified with
	known  []jose.JSONWebKey      // and retired ones, for id_token_hint
	jwks   []byte                 // public
	loaded time.Time              // when the store was asked
	read   time.Time              // when it has answered
}

// keysRecord is how the keys of one algorithm lie in the store, the newest last.
// Times are Unix seconds.
type keysRecord struct {
	Keys    []keyEntry `json:"keys"`
	Stopped int64      `json:"stopped,omitempty"` // when the algorithm ceased to be used
}

type keyEntry struct {
	ID      string          `json:"kid"`
	Created int64           `json:"created"`
	From    int64           `json:"from,omitempty"`    // when it begins to sign
	Life    int64           `json:"life,omitempty"`    // seconds that its tokens live at most
	Retired bool            `json:"retired,omitempty"` // JWK is public
	JWK     json.RawMessage `json:"jwk,omitempty"`
	Sealed  string          `json:"sealed,omitempty"`
}

// keys returns the current keys. The first call loads or makes them. Later the
// store is asked again once a minute, by one caller at a time, and the others go on
// with the keys at hand; so does everybody if the store does not answer.
func (p *Provider) keys(ctx context.Context) (*keySet, error) {
	set := p.keySet.Load()
	if set != nil && p.fresh(set) {
		return set, nil
	}
	if set != nil && p.signsStill(set) {
		if !p.keyLoad.try() {
			return set, nil
		}
	} else {
		err := p.keyLoad.take(ctx, keysLoadFor)
		if err != nil {
			return nil, fmt.Errorf("waiting for signing keys: %w", err)
		}
	}
	defer p.keyLoad.done()
	current := p.keySet.Load()
	if current != set {
		return current, nil // somebody else has loaded them while we waited
	}
	// Others live by what comes of this, so it does not end with the request that it
	// happens in: that a client hangs up says nothing about the store.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysLoadFor)
	defer cancel()
	next, err := p.loadKeys(ctx)
	if err != nil {
		if set == nil {
			return nil, fmt.Errorf("loading signing keys: %w", err)
		}
		p.log.Error("loading signing keys failed, going on with those at hand", zap.Error(err))
		stale := *set
		stale.loaded = p.now().Add(keysRetry - keysFreshFor)
		next = &stale
	}
	p.logActive(set, next)
	p.keySet.Store(next)
	return next, nil
}

// fresh reports whether the store need not be asked yet.
func (p *Provider) fresh(set *keySet) bool {
	now := p.now()
	return now.Sub(set.loaded) < keysFreshFor && !now.Before(set.loaded)
}

// signsStill reports whether the keys are recent enough to sign with.
func (p *Provider) signsStill(set *keySet) bool { return p.now().Sub(set.read) <= keysSignFor }

// logActive tells when another key begins to sign.
func (p *Provider) logActive(before, after *keySet) {
	if before == nil {
		return
	}
	for alg, key := range after.active {
		if before.active[alg] == nil || before.active[alg].public.KeyID != key.public.KeyID {
			p.log.Info("another key signs now", zap.String("alg", alg), zap.String("kid", key.public.KeyID))
		}
	}
}

// signingKeys returns the current keys for somebody who signs with them.
func (p *Provider) signingKeys(ctx context.Context) (*keySet, error) {
	set, err := p.keys(ctx)
	if err != nil {
		return nil, err
	}
	if !p.signsStill(set) {
		return nil, errors.New("the store has not told of the signing keys for too long")
	}
	return set, nil
}

// loadKeys reads the keys of all algorithms and makes those that are due.
func (p *Provider) loadKeys(ctx context.Context) (*keySet, error) {
	set := &keySet{active: make(map[string]*signingKey), loaded: p.now(), read: p.now()}
	for _, alg := range signingAlgs {
		err := p.loadAlg(ctx, set, alg)
		if err != nil {
			return nil, fmt.Errorf("loading %s keys: %w", alg, err)
		}
	}
	var err error
	set.jwks, err = json.Marshal(jose.JSONWebKeySet{Keys: set.public})
	if err != nil {
		return nil, fmt.Errorf("encoding JWKS: %w", err)
	}
	return set, nil
}

// loadAlg adds the keys of one algorithm to a set. There may be some of an algorithm
// that is not used any more, and whose tokens still are.
func (p *Provider) loadAlg(ctx context.Context, set *keySet, alg string) error {
	used := slices.Contains(p.signingAlgs, alg)
	record, err := p.loadKeysRecord(ctx, alg, used)
	if err != nil {
		return err
	}
	signing := record.signing(set.loaded.Unix())
	for i, entry := range record.Keys {
		if entry.Retired {
			public, err := readPublicKey(alg, entry)
			if err != nil {
				return fmt.Errorf("opening key %s: %w", entry.ID, err)
			}
			set.known = append(set.known, public)
			continue
		}
		key, err := p.openKey(alg, entry)
		if err != nil {
			return fmt.Errorf("opening key %s: %w", entry.ID, err)
		}
		set.known = append(set.known, key.public)
		set.public = append(set.public, key.public)
		if used && i == signing {
			set.active[alg] = key
		}
	}
	if used && set.active[alg] == nil {
		return errors.New("the store has no key in its record")
	}
	return nil
}

// loadKeysRecord returns the record of one algorithm, in which everything is done
// that is due. Of several nodes that find something to do one does it, and the others
// take what that one has made.
func (p *Provider) loadKeysRecord(ctx context.Context, alg string, used bool) (*keysRecord, error) {
	for range 8 {
		stored, err := p.cfg.Store.Get(ctx, kindKeys, alg)
		if errors.Is(err, store.ErrNotFound) {
			if !used {
				return &keysRecord{}, nil
			}
			stored, err = &store.Record{Kind: kindKeys, ID: alg}, nil
		}
		if err != nil {
			return nil, err
		}
		record, done, err := p.reviseStored(alg, stored, used)
		if err != nil || !done.changed {
			return record, err
		}
		write := p.cfg.Store.Update
		if stored.Version == 0 {
			write = p.cfg.Store.Create
		}
		err = write(ctx, stored)
		if err == nil {
			p.logRevision(alg, done)
			return record, nil
		}
		if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("writing keys: %w", err)
		}
	}
	return nil, errors.New("the record of keys never rests")
}

// reviseStored decodes a record, does what is due in it, and puts the result where
// the record was. Keys that lie there unencrypted although there is an encryption key
// now, or encrypted with one that is not the first any more, are encrypted on this
// occasion.
func (p *Provider) reviseStored(alg string, stored *store.Record, used bool) (*keysRecord, revision, error) {
	var record keysRecord
	if stored.Version != 0 {
		err := json.Unmarshal(stored.Data, &record)
		if err != nil {
			return nil, revision{}, fmt.Errorf("decoding keys: %w", err)
		}
	}
	done, err := p.revise(alg, &record, used)
	if err != nil {
		return nil, done, err
	}
	sealed, err := p.sealKeys(alg, &record)
	if err != nil {
		return nil, done, err
	}
	done.changed = done.changed || sealed
	if done.changed {
		stored.Data, err = json.Marshal(record)
		if err != nil {
			return nil, done, fmt.Errorf("encoding keys: %w", err)
		}
	}
	return &record, done, nil
}

// newKeyEntry makes a key pair for one algorithm that signs from a time on. The key id
// is the thumbprint of the public key (RFC 7638).
func (p *Provider) newKeyEntry(alg string, from int64) (*keyEntry, error) {
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
	return &keyEntry{ID: jwk.KeyID, Created: p.now().Unix(), From: from, JWK: data}, nil
}

// sealKeys encrypts the keys of the record that are not, or not with the first
// encryption key, and reports whether there was one. Without an encryption key it does
// nothing.
func (p *Provider) sealKeys(alg string, record *keysRecord) (bool, error) {
	changed := false
	for i := range record.Keys {
		entry := &record.Keys[i]
		if p.sealer == nil || entry.Retired || entry.Sealed != "" && p.sealer.current(entry.Sealed) {
			continue
		}
		jwk := []byte(entry.JWK)
		if entry.Sealed != "" {
			var err error
			jwk, err = p.sealer.open(keyPlace(alg, entry.ID), entry.Sealed)
			if err != nil {
				return false, err
			}
		}
		sealed, err := p.sealer.seal(p.cfg.Rand, keyPlace(alg, entry.ID), jwk)
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
	err = checkKey(alg, entry, public)
	if err != nil {
		return nil, err
	}
	key := &signingKey{alg: alg, public: public}
	key.id, err = newJWTSigner(alg, jwk, "JWT", p.cfg.Rand)
	if err != nil {
		return nil, err
	}
	key.access, err = newJWTSigner(alg, jwk, accessTokenType, p.cfg.Rand)
	if err != nil {
		return nil, err
	}
	return key, nil
}

func checkKey(alg string, entry keyEntry, public jose.JSONWebKey) error {
	if public.KeyID != entry.ID || public.Algorithm != alg || !public.Valid() || !public.IsPublic() || len(keyAlgs(public)) == 0 {
		return errors.New("key is not what its record says")
	}
	return nil
}
