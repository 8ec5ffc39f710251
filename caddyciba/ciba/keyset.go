package ciba

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// maxKeys is the number of keys in a key set above which it is refused.
	maxKeys = 100

	// maxKeySize is the length of one JWK in bytes above which it is skipped. An
	// RSA key of maxRSABits with a certificate chain fits.
	maxKeySize = 32 << 10

	minRSABits = 2048
	maxRSABits = 8192

	// unknownKeyPause is the least time between two fetches that are caused by
	// ID Tokens whose key is not in the set. Without it, whoever can make the
	// provider answer could make us fetch at will.
	unknownKeyPause = time.Minute
)

// algFamilies are the signature algorithms that ID Tokens can have, and the kind
// of key that each demands. HMAC has no place here: the key would be a password
// that both sides know.
var algFamilies = map[string]func(crypto.PublicKey) bool{
	"ES256": isCurve(elliptic.P256()),
	"ES384": isCurve(elliptic.P384()),
	"ES512": isCurve(elliptic.P521()),
	"PS256": isRSA, "PS384": isRSA, "PS512": isRSA,
	"RS256": isRSA, "RS384": isRSA, "RS512": isRSA,
	"EdDSA": isEd25519,
}

func isCurve(curve elliptic.Curve) func(crypto.PublicKey) bool {
	return func(key crypto.PublicKey) bool {
		public, ok := key.(*ecdsa.PublicKey)
		return ok && public.Curve == curve
	}
}

func isRSA(key crypto.PublicKey) bool {
	public, ok := key.(*rsa.PublicKey)
	return ok && public.N.BitLen() >= minRSABits && public.N.BitLen() <= maxRSABits &&
		public.E >= 3 && public.E%2 == 1
}

func isEd25519(key crypto.PublicKey) bool {
	public, ok := key.(ed25519.PublicKey)
	return ok && len(public) == ed25519.PublicKeySize
}

// keySet holds the keys of a provider that can verify signatures.
type keySet struct {
	keys []verificationKey
}

// verificationKey is one public key. An empty alg leaves the choice among the
// algorithms that fit the key.
type verificationKey struct {
	id, alg string
	public  crypto.PublicKey
}

// find returns the one key that a signature by alg under the given key id must
// verify with. A token without a key id is only unambiguous if one key fits.
func (s *keySet) find(id, alg string) (crypto.PublicKey, error) {
	fits, known := algFamilies[alg]
	if !known {
		return nil, errors.New("algorithm is not supported")
	}
	var found []crypto.PublicKey
	for _, k := range s.keys {
		if (id == "" || k.id == id) && (k.alg == "" || k.alg == alg) && fits(k.public) {
			found = append(found, k.public)
		}
	}
	switch len(found) {
	case 0:
		return nil, errNoKey
	case 1:
		return found[0], nil
	}
	return nil, errors.New("several keys fit the token")
}

var errNoKey = errors.New("no key fits the token")

// signingKey returns the key for a token, and looks for a new key set if the one
// at hand has none.
func (c *Client) signingKey(ctx context.Context, id, alg string) (crypto.PublicKey, error) {
	set, err := c.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	key, err := set.find(id, alg)
	if !errors.Is(err, errNoKey) {
		return key, err
	}
	set, err = c.keys.renewed(ctx, unknownKeyPause)
	if err != nil {
		return nil, err
	}
	return set.find(id, alg)
}

func (c *Client) fetchKeys(ctx context.Context) (*keySet, error) {
	md, err := c.metadata.get(ctx)
	if err != nil {
		return nil, err
	}
	return c.fetchKeysFrom(ctx, md)
}

func (c *Client) fetchKeysFrom(ctx context.Context, md *Metadata) (*keySet, error) {
	a, err := c.get(ctx, "keys", md.JWKSURI)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, a.documentFailure()
	}
	set, err := parseKeySet(a.body)
	if err != nil {
		return nil, a.broken("%w", err)
	}
	return set, nil
}

// parseKeySet reads a JWK Set (RFC 7517 section 5). Keys that are no good for
// verifying signatures are left out, as the RFC demands; a set with none left is
// refused.
func parseKeySet(body []byte) (*keySet, error) {
	o, err := parseObject(body)
	if err != nil {
		return nil, fmt.Errorf("reading key set: %w", err)
	}
	var raw []json.RawMessage
	err = json.Unmarshal(o["keys"], &raw)
	if err != nil {
		return nil, errors.New("key set has no array of keys")
	}
	if len(raw) > maxKeys {
		return nil, fmt.Errorf("key set has more than %d keys", maxKeys)
	}
	set := &keySet{}
	for _, one := range raw {
		key, ok := parseVerificationKey(one)
		if ok {
			set.keys = append(set.keys, key)
		}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("key set has no key that can verify a signature")
	}
	return set, nil
}

func parseVerificationKey(raw json.RawMessage) (verificationKey, bool) {
	var none verificationKey
	if len(raw) > maxKeySize || !forVerifying(raw) {
		return none, false
	}
	var jwk jose.JSONWebKey
	err := jwk.UnmarshalJSON(raw)
	if err != nil {
		return none, false
	}
	// A private or symmetric key in a public place is known to everybody. What it
	// signs proves nothing.
	if !jwk.IsPublic() || !jwk.Valid() {
		return none, false
	}
	key := verificationKey{id: jwk.KeyID, alg: jwk.Algorithm, public: jwk.Key}
	for alg, fits := range algFamilies {
		if (key.alg == "" || key.alg == alg) && fits(key.public) {
			return key, true
		}
	}
	return none, false
}

// forVerifying looks at "use" and "key_ops", which go-jose leaves to its callers,
// and at the size of an RSA modulus before anything is computed with it.
func forVerifying(raw json.RawMessage) bool {
	o, err := parseObject(raw)
	if err != nil {
		return false
	}
	use, err := o.text("use")
	if err != nil || (use != "" && use != "sig") {
		return false
	}
	ops, err := o.texts("key_ops")
	if err != nil || (o.has("key_ops") && !slices.Contains(ops, "verify")) {
		return false
	}
	modulus, err := o.text("n")
	if err != nil || len(strings.TrimRight(modulus, "=")) > (maxRSABits/8+2)*4/3+2 {
		return false
	}
	return true
}
