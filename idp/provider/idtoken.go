package provider

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// idTokenClaims are the claims of OpenID Connect Core 1.0 section 2 and CIBA Core
// 1.0 section 10.3.1. auth_time, acr and amr tell of the authentication by which
// the request was approved.
type idTokenClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  string   `json:"aud"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	AuthTime  int64    `json:"auth_time"`
	ACR       string   `json:"acr,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	ATHash    string   `json:"at_hash,omitempty"`
	RTHash    string   `json:"urn:openid:params:jwt:claim:rt_hash,omitempty"`
	AuthReqID string   `json:"urn:openid:params:jwt:claim:auth_req_id,omitempty"`
}

// idToken makes the ID Token of an approved request. It carries the hash of the
// access token and the auth_req_id also where these are optional: by them the
// client can tell that all parts of the answer belong to what it has asked.
func (p *Provider) idToken(set *keySet, i issue, accessToken string, now time.Time) (string, error) {
	h := i.request
	alg := i.client.IDTokenSigningAlg
	if alg == "" {
		alg = p.signingAlgs[0]
	}
	key := set.active[alg]
	if key == nil {
		return "", fmt.Errorf("there is no %s key", alg)
	}
	claims := idTokenClaims{
		Issuer:    p.cfg.Issuer,
		Subject:   h.Subject,
		Audience:  i.client.ID,
		Expires:   now.Add(p.cfg.IDTokenLifetime).Unix(),
		IssuedAt:  now.Unix(),
		AuthTime:  h.AuthTime,
		ACR:       h.ACR,
		AMR:       h.AMR,
		ATHash:    leftHash(alg, accessToken),
		AuthReqID: i.authReqID,
	}
	if i.pushed && i.refresh != "" {
		claims.RTHash = leftHash(alg, i.refresh)
	}
	return key.id.sign(claims)
}

// leftHash is the left half of the hash of a token, as in at_hash. The hash is the
// one of the signature algorithm: SHA-512 for Ed25519, SHA-256 for all others of
// ours.
func leftHash(alg, token string) string {
	if alg == string(jose.EdDSA) {
		sum := sha512.Sum512([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	}
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
