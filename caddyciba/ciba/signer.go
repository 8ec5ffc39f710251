package ciba

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// newSigner makes a signer from a private key. typ is the "typ" header of what
// it signs, or "" for none.
func newSigner(key *jose.JSONWebKey, alg, typ string) (jose.Signer, error) {
	options := &jose.SignerOptions{}
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	id := ""
	if key != nil {
		id = key.KeyID
	}
	return newSignerWith(key, alg, id, options)
}

// newSignerWith is newSigner with a key id and with further options.
func newSignerWith(key *jose.JSONWebKey, alg, id string, options *jose.SignerOptions) (jose.Signer, error) {
	if key == nil || key.Key == nil {
		return nil, errors.New("private key is missing")
	}
	if key.IsPublic() {
		return nil, errors.New("key is public, a private one is needed")
	}
	if key.Use != "" && key.Use != "sig" {
		return nil, fmt.Errorf("key is for use %q, not for signing", key.Use)
	}
	if alg != "" && key.Algorithm != "" && alg != key.Algorithm {
		return nil, fmt.Errorf("key is for algorithm %q, not for %q", key.Algorithm, alg)
	}
	signer, ok := key.Key.(crypto.Signer)
	if !ok {
		return nil, errors.New("key cannot sign with a public counterpart")
	}
	public := signer.Public()
	alg = signingAlg(key, alg)
	fits, known := algFamilies[alg]
	if !known {
		return nil, fmt.Errorf("signing algorithm %q is not supported", alg)
	}
	if !fits(public) {
		return nil, fmt.Errorf("key does not fit algorithm %s (RSA keys have %d to %d bits)", alg, minRSABits, maxRSABits)
	}
	made, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(alg),
		Key:       jose.JSONWebKey{Key: key.Key, KeyID: id},
	}, options)
	if err != nil {
		return nil, fmt.Errorf("making signer: %w", err)
	}
	return made, nil
}

// signingAlg is the algorithm to sign with: the one asked for, the key's own, or
// what fits the key best.
func signingAlg(key *jose.JSONWebKey, alg string) string {
	if alg != "" {
		return alg
	}
	if key.Algorithm != "" {
		return key.Algorithm
	}
	signer, ok := key.Key.(crypto.Signer)
	if !ok {
		return ""
	}
	switch key := signer.Public().(type) {
	case *rsa.PublicKey:
		return "PS256"
	case ed25519.PublicKey:
		return "EdDSA"
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return "ES256"
		case elliptic.P384():
			return "ES384"
		case elliptic.P521():
			return "ES512"
		}
	}
	return ""
}

// ParsePrivateKey reads a private key for [PrivateKeyJWT] from a JWK (JSON) or
// from PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted). A key from PEM gets its
// RFC 7638 thumbprint as kid; set KeyID if the provider knows it by another.
//
// The errors never quote the input.
func ParsePrivateKey(data []byte) (*jose.JSONWebKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return parsePrivateJWK(data)
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errors.New("PEM block is not an unencrypted private key")
	}
	if err != nil {
		return nil, errors.New("PEM block does not hold a usable private key")
	}
	jwk := &jose.JSONWebKey{Key: key}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, errors.New("private key is of an unsupported kind")
	}
	jwk.KeyID = encodeSegment(thumbprint)
	return jwk, nil
}

func parsePrivateJWK(data []byte) (*jose.JSONWebKey, error) {
	_, err := parseObject(data)
	if err != nil {
		return nil, errors.New("key is neither PEM nor a JSON Web Key")
	}
	jwk := &jose.JSONWebKey{}
	err = jwk.UnmarshalJSON(data)
	if err != nil {
		return nil, errors.New("JSON Web Key is not usable")
	}
	if jwk.IsPublic() || !jwk.Valid() {
		return nil, errors.New("JSON Web Key is not a private key")
	}
	return jwk, nil
}

// encodeSegment is base64url without padding, as in a JWT.
func encodeSegment(b []byte) string {
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeSegment is the reverse of encodeSegment.
func decodeSegment(s string) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
