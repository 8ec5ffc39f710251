package provider

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// maxJWT bounds the size of JWTs that clients send.
const maxJWT = 8 << 10

// signingAlgs are the algorithms of this package. HMAC and none are not among
// them: a token from outside is never checked by a key that it could bring along.
var signingAlgs = []string{
	string(jose.ES256), string(jose.PS256), string(jose.EdDSA), string(jose.RS256),
}

func isSigningAlg(alg string) bool { return slices.Contains(signingAlgs, alg) }

// keyAlgs returns the algorithms that a key can be used with.
func keyAlgs(key jose.JSONWebKey) []string {
	var algs []string
	switch k := key.Key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			algs = []string{string(jose.ES256)}
		}
	case ed25519.PublicKey:
		algs = []string{string(jose.EdDSA)}
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 && k.N.BitLen() <= 8192 {
			algs = []string{string(jose.PS256), string(jose.RS256)}
		}
	}
	if key.Algorithm != "" {
		// A key that names its algorithm is good for no other.
		algs = slices.DeleteFunc(algs, func(a string) bool { return a != key.Algorithm })
	}
	return algs
}

// joseHeader is the part of a JWS header that this package looks at.
type joseHeader struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`

	// JWK is set in DPoP proofs alone, whose purpose is to show a key.
	JWK json.RawMessage `json:"jwk"`
}

// forbiddenHeaders, and jwk where it is not expected, would let a token choose its own key or its own processing
// rules (RFC 7515 section 4.1; OWASP ASVS 5.0 9.1.3).
var forbiddenHeaders = []string{"jku", "x5u", "x5c", "crit", "b64", "enc", "zip"}

// parsedJWT is a JWT whose form was checked but whose signature was not.
type parsedJWT struct {
	header  joseHeader
	payload []byte // not to be trusted before verify
	compact string
}

// parseJWT takes a compact JWS apart, strictly and at bounded cost.
func parseJWT(token string) (*parsedJWT, error) {
	t, err := parseJWTWithKey(token)
	if err != nil {
		return nil, err
	}
	if t.header.JWK != nil {
		return nil, errors.New("JWT header has the member jwk")
	}
	return t, nil
}

// parseJWTWithKey is parseJWT for a JWT that brings its key along.
func parseJWTWithKey(token string) (*parsedJWT, error) {
	if len(token) > maxJWT {
		return nil, errors.New("JWT is too large")
	}
	if strings.Count(token, ".") != 2 {
		return nil, errors.New("JWT does not have three parts")
	}
	parts := strings.Split(token, ".")
	header, err := decodeJSONPart(parts[0])
	if err != nil {
		return nil, fmt.Errorf("reading JWT header: %w", err)
	}
	payload, err := decodeJSONPart(parts[1])
	if err != nil {
		return nil, fmt.Errorf("reading JWT payload: %w", err)
	}
	var names map[string]json.RawMessage
	err = json.Unmarshal(header, &names)
	if err != nil {
		return nil, fmt.Errorf("reading JWT header: %w", err)
	}
	for _, name := range forbiddenHeaders {
		_, ok := names[name]
		if ok {
			return nil, fmt.Errorf("JWT header has the member %s", name)
		}
	}
	t := &parsedJWT{payload: payload, compact: token}
	err = json.Unmarshal(header, &t.header)
	if err != nil {
		return nil, fmt.Errorf("reading JWT header: %w", err)
	}
	return t, nil
}

func decodeJSONPart(part string) ([]byte, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, err
	}
	return data, checkJSON(data)
}

// verify checks the signature with the key that the header names. The algorithm
// must be allowed, and one that the key is for. A header without kid is taken if
// only one key fits.
func (t *parsedJWT) verify(keys []jose.JSONWebKey, algs []string) error {
	if !slices.Contains(algs, t.header.Alg) {
		return errors.New("JWT algorithm is not allowed")
	}
	fitting := t.fitting(keys)
	if len(fitting) != 1 {
		return fmt.Errorf("%d keys fit the JWT", len(fitting))
	}
	jws, err := jose.ParseSignedCompact(t.compact, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.header.Alg)})
	if err != nil {
		return fmt.Errorf("parsing JWT: %w", err)
	}
	_, err = jws.Verify(fitting[0].Key)
	if err != nil {
		return fmt.Errorf("verifying JWT: %w", err)
	}
	return nil
}

// fitting returns the keys that the signature may be by.
func (t *parsedJWT) fitting(keys []jose.JSONWebKey) []jose.JSONWebKey {
	var fitting []jose.JSONWebKey
	for _, key := range keys {
		if (t.header.Kid == "" || t.header.Kid == key.KeyID) && slices.Contains(keyAlgs(key), t.header.Alg) {
			fitting = append(fitting, key)
		}
	}
	return fitting
}

// audience is an aud claim: a string or an array of strings.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	err := json.Unmarshal(data, &one)
	if err == nil {
		*a = audience{one}
		return nil
	}
	var many []string
	err = json.Unmarshal(data, &many)
	if err != nil {
		return errors.New("audience is neither a string nor an array of strings")
	}
	*a = many
	return nil
}

// MarshalJSON implements json.Marshaler. One audience is written as a string,
// which is what most readers expect.
func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}
