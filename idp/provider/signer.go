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

	"github.com/go-jose/go-jose/v4"
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
	token := make([]byte, 0, len(s.head)+encoding.EncodedLen(len(payload))+512)
	token = append(token, s.head...)
	token = encoding.AppendEncode(token, payload)
	signature, err := s.signature(token)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	token = append(token, '.')
	return string(encoding.AppendEncode(token, signature)), nil
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
		r, t, err := ecdsa.Sign(s.rand, key, sum[:])
		if err != nil {
			return nil, err
		}
		signature := make([]byte, 2*ecdsaPart)
		r.FillBytes(signature[:ecdsaPart])
		t.FillBytes(signature[ecdsaPart:])
		return signature, nil
	case jose.EdDSA:
		return s.key.Sign(s.rand, input, crypto.Hash(0))
	case jose.PS256:
		return s.key.Sign(s.rand, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	case jose.RS256:
		return s.key.Sign(s.rand, sum[:], crypto.SHA256)
	}
	return nil, fmt.Errorf("key is not for %s", s.alg)
}
