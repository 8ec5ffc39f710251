package ciba

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLife is how long a client assertion is valid. It covers the request
// that it is made for and the difference of two clocks.
const assertionLife = time.Minute

// PrivateKeyJWT returns the method private_key_jwt (RFC 7523, OpenID Connect
// Core 1.0 section 9): each request carries a new assertion, valid for one
// minute, signed with key. The key's kid goes into the header.
//
// The assertion is addressed to the configured issuer alone, as one string.
// Endpoints from the provider's metadata are never its audience: a provider
// that names another's token endpoint as its own must not receive an assertion
// that is good there (CVE-2025-27370).
//
// alg is ES256, ES384, ES512, PS256, PS384, PS512, EdDSA or RS256. If it is
// empty, the key's own alg is used, or else what fits: PS256 for RSA, EdDSA for
// Ed25519, and for ECDSA the algorithm of its curve. RSA keys below 2048 bits are
// refused.
func PrivateKeyJWT(key *jose.JSONWebKey, alg string) (Authenticator, error) {
	signer, err := newSigner(key, alg, "")
	if err != nil {
		return nil, err
	}
	return &privateKeyJWT{signer: signer}, nil
}

type privateKeyJWT struct {
	redacted
	signer jose.Signer
}

func (a *privateKeyJWT) Method() string { return "private_key_jwt" }

func (a *privateKeyJWT) Authenticate(_ context.Context, r *Credentials) error {
	return assert(a.signer, r)
}

// minSecretJWT is how long a secret must be to sign by HS256: as long as the hash
// (RFC 7518 section 3.2).
const minSecretJWT = 32

// ClientSecretJWT returns the method client_secret_jwt (OpenID Connect Core 1.0
// section 9): as PrivateKeyJWT, but signed by HS256 with the client's secret,
// which so stays off the line. It must have 32 bytes at least.
func ClientSecretJWT(secret string) (Authenticator, error) {
	if len(secret) < minSecretJWT {
		return nil, fmt.Errorf("client secret is below %d bytes, too short for client_secret_jwt", minSecretJWT)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(secret)}, nil)
	if err != nil {
		return nil, fmt.Errorf("making signer: %w", err)
	}
	return &secretJWT{signer: signer}, nil
}

type secretJWT struct {
	redacted
	signer jose.Signer
}

func (a *secretJWT) Method() string { return "client_secret_jwt" }

func (a *secretJWT) Authenticate(_ context.Context, r *Credentials) error {
	return assert(a.signer, r)
}

// assert adds a new assertion to a request.
func assert(signer jose.Signer, r *Credentials) error {
	id, err := randomText(r.Rand)
	if err != nil {
		return err
	}
	assertion, err := signJSON(signer, map[string]any{
		"iss": r.ClientID,
		"sub": r.ClientID,
		"aud": r.Issuer,
		"jti": id,
		"iat": r.Now.Unix(),
		"exp": r.Now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return err
	}
	r.Form.Set("client_assertion_type", assertionType)
	r.Form.Set("client_assertion", assertion)
	return nil
}

// signJSON signs a set of claims as a compact JWS. The claims are encoded here:
// go-jose would make an array of a single audience.
func signJSON(signer jose.Signer, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing claims: %w", err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("encoding signature: %w", err)
	}
	return compact, nil
}

// randomText returns 256 random bits in base64url.
func randomText(source io.Reader) (string, error) {
	var b [32]byte
	_, err := io.ReadFull(source, b[:])
	if err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	return encodeSegment(b[:]), nil
}
