package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ecdsaPart is the size of each half of an ES256 signature (RFC 7518 section 3.4).
const ecdsaPart = 32

// jwtSigner signs JWTs of one type with one key. The header never differs, so it is
// encoded once; that, and taking no detours over maps, is why it is here and not
// go-jose's. It is safe for concurrent use.
type jwtSigner struct {
	alg  jose.SignatureAlgorithm
	key  crypto.Signer
	rand io.Reader
	head string // the encoded header with the dot behind it
}

// drafts are buffers in which tokens are put together.
var drafts = sync.Pool{New: func() any { return new([]byte) }}

// jwtHeader is the header of a JWT of ours.
type jwtHeader struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

func newJWTSigner(alg string, jwk jose.JSONWebKey, typ string, rand io.Reader) (*jwtSigner, error) {
	key, ok := jwk.Key.(crypto.Signer)
	if !ok {
		return nil, errors.New("key can not sign")
	}
	header, err := json.Marshal(jwtHeader{Alg: alg, Kid: jwk.KeyID, Typ: typ})
	if err != nil {
		return nil, fmt.Errorf("encoding header: %w", err)
	}
	return &jwtSigner{
		alg: jose.SignatureAlgorithm(alg), key: key, rand: rand,
		head: base64.RawURLEncoding.EncodeToString(header) + ".",
	}, nil
}

// sign returns claims as a signed JWT.
func (s *jwtSigner) sign(claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	encoding := base64.RawURLEncoding
	draft := drafts.Get().(*[]byte)
	defer drafts.Put(draft)
	token := append((*draft)[:0], s.head...)
	token = encoding.AppendEncode(token, payload)
	signature, err := s.signature(token)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	token = append(token, '.')
	token = encoding.AppendEncode(token, signature)
	*draft = token
	return string(token), nil
}

// signature signs as the algorithm says (RFC 7518 section 3; RFC 8037 section 3.1).
func (s *jwtSigner) signature(input []byte) ([]byte, error) {
	sum := sha256.Sum256(input)
	switch s.alg {
	case jose.ES256:
		key, ok := s.key.(*ecdsa.PrivateKey)
		if !ok {
			break
		}
		// Without randomness it is the deterministic ECDSA of RFC 6979, whose nonce
		// no weak source of randomness can give away. What would speak for a random
		// part, a fault while the same text is signed twice, does not come up: each
		// access token has a random jti, and each ID Token the hash of its own.
		signature, err := key.Sign(nil, sum[:], crypto.SHA256)
		if err != nil {
			return nil, err
		}
		return joinECDSA(signature)
	case jose.EdDSA:
		return s.key.Sign(s.rand, input, crypto.Hash(0))
	case jose.PS256:
		return s.key.Sign(s.rand, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	case jose.RS256:
		return s.key.Sign(s.rand, sum[:], crypto.SHA256)
	}
	return nil, fmt.Errorf("key is not for %s", s.alg)
}

// joinECDSA returns an ECDSA signature in ASN.1 as the two numbers of fixed size that
// RFC 7518 section 3.4 asks for.
func joinECDSA(der []byte) ([]byte, error) {
	var r, s []byte
	var both cryptobyte.String
	input := cryptobyte.String(der)
	ok := input.ReadASN1(&both, asn1.SEQUENCE) && input.Empty() &&
		both.ReadASN1Integer(&r) && both.ReadASN1Integer(&s) && both.Empty()
	if !ok || len(r) > ecdsaPart || len(s) > ecdsaPart {
		return nil, errors.New("not a signature of ECDSA with P-256")
	}
	joined := make([]byte, 2*ecdsaPart)
	copy(joined[ecdsaPart-len(r):], r)
	copy(joined[2*ecdsaPart-len(s):], s)
	return joined, nil
}
