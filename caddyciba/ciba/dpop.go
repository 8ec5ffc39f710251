package ciba

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A DPoPKey is a private key by which a client proves that its access tokens are
// its own (RFC 9449). It is safe for concurrent use.
type DPoPKey struct {
	redacted
	signer     jose.Signer
	alg        string
	thumbprint string
}

// NewDPoPKey returns a key that signs proofs. alg is chosen as by PrivateKeyJWT; a
// key for ES256 is what every provider takes. The key's kid is not shown, as a
// proof carries the public key itself.
func NewDPoPKey(key *jose.JSONWebKey, alg string) (*DPoPKey, error) {
	signer, err := newSignerWith(key, alg, "", (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		return nil, fmt.Errorf("DPoP: %w", err)
	}
	public := key.Public()
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("DPoP: computing thumbprint: %w", err)
	}
	return &DPoPKey{signer: signer, alg: signingAlg(key, alg), thumbprint: encodeSegment(sum)}, nil
}

// Thumbprint is the JWK SHA-256 thumbprint of the public key (RFC 7638), as a token
// that is bound to the key has it in cnf.jkt.
func (k *DPoPKey) Thumbprint() string { return k.thumbprint }

// DPoPKeys is where keys come from. It is the extension point for whoever keeps
// keys elsewhere than in memory. An implementation must be safe for concurrent use.
type DPoPKeys interface {
	// Current returns the key that new tokens are bound to.
	Current(ctx context.Context) (*DPoPKey, error)

	// Find returns the key of a thumbprint: the current one, or an earlier one that
	// tokens may still be bound to. The error wraps ErrUnknownDPoPKey if there is
	// none.
	Find(ctx context.Context, thumbprint string) (*DPoPKey, error)
}

// ErrUnknownDPoPKey says that the key which a token is bound to is not there, or not
// any more.
var ErrUnknownDPoPKey = errors.New("key that the token is bound to is not known")

// FixedDPoPKey returns a source of one key that does not change.
func FixedDPoPKey(key *DPoPKey) DPoPKeys { return fixedKey{key} }

type fixedKey struct{ key *DPoPKey }

func (f fixedKey) Current(context.Context) (*DPoPKey, error) { return f.key, nil }

func (f fixedKey) Find(_ context.Context, thumbprint string) (*DPoPKey, error) {
	if f.key.thumbprint != thumbprint {
		return nil, ErrUnknownDPoPKey
	}
	return f.key, nil
}

// DPoPConfig configures a DPoP.
type DPoPConfig struct {
	// Keys sign the proofs. Required.
	Keys DPoPKeys

	// Now is the clock of the proofs. Servers take proofs of the last minute or so,
	// so it must be right. Default: time.Now.
	Now func() time.Time

	// Rand is the source of the proofs' identifiers. Default: crypto/rand.Reader.
	Rand io.Reader
}

// DPoP makes proofs of possession (RFC 9449) and remembers the nonces that servers
// hand out for them. A Client uses it for its token requests; whoever sends the
// tokens on to an API uses the same one for that. It is safe for concurrent use.
type DPoP struct {
	keys   DPoPKeys
	now    func() time.Time
	rand   io.Reader
	nonces nonces
}

// NewDPoP returns a DPoP. The error says that the configuration has no keys.
func NewDPoP(cfg DPoPConfig) (*DPoP, error) {
	if cfg.Keys == nil {
		return nil, errors.New("DPoP needs keys")
	}
	d := &DPoP{keys: cfg.Keys, now: cfg.Now, rand: cfg.Rand}
	if d.now == nil {
		d.now = time.Now
	}
	if d.rand == nil {
		d.rand = rand.Reader
	}
	return d, nil
}

// Prove returns the proof for one request to an API with the tokens, which belongs
// into its header DPoP, beside "Authorization: DPoP …" (RFC 9449 section 7.1). The
// target is the URL of the request as the API knows it; its query and fragment do
// not count. A proof is for one request: the API may refuse it a second time.
//
// The error wraps ErrUnknownDPoPKey if the key is gone that the tokens are bound to.
func (d *DPoP) Prove(ctx context.Context, t *Tokens, method, target string) (string, error) {
	key, err := d.keys.Find(ctx, t.DPoPKey)
	if err != nil {
		return "", fmt.Errorf("finding DPoP key: %w", err)
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return "", errors.New("target of DPoP proof is not an absolute URL")
	}
	return d.prove(key, method, u, t.AccessToken, d.nonces.get(atAPI, u))
}

// Learn takes the nonce from the header of an API's answer, if there is one, for
// the next request to the same scheme, host and port (RFC 9449 section 8.2).
func (d *DPoP) Learn(target string, header http.Header) {
	nonce, ok := nonceOf(header)
	if !ok {
		return
	}
	u, err := url.Parse(target)
	if err == nil && u.Host != "" {
		d.nonces.put(atAPI, u, nonce)
	}
}

// prove makes a proof (RFC 9449 section 4.2).
func (d *DPoP) prove(key *DPoPKey, method string, target *url.URL, accessToken, nonce string) (string, error) {
	id, err := randomText(d.rand)
	if err != nil {
		return "", err
	}
	claims := map[string]any{
		"jti": id,
		"htm": method,
		"htu": htu(target),
		"iat": d.now().Unix(),
	}
	if accessToken != "" {
		sum := sha256.Sum256([]byte(accessToken))
		claims["ath"] = encodeSegment(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return signJSON(key.signer, claims)
}

// htu is the URL of a request without its query and fragment, and with a path.
func htu(target *url.URL) string {
	u := url.URL{Scheme: target.Scheme, Host: target.Host, Path: target.Path, RawPath: target.RawPath}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String()
}

// errBinding is the cause where a token is not bound to our key as it must be.
var errBinding = errors.New("access token is bound to another key than ours, or to none")

// checkBinding checks that an access token which its provider calls bound names our
// key, as far as we can read it: a token that is no JWT is between provider and API.
func checkBinding(token, thumbprint string) error {
	claims, ok := peekClaims(token)
	if !ok {
		return nil
	}
	if !claims.has("cnf") {
		return errBinding
	}
	cnf, err := parseObject(claims["cnf"])
	if err != nil {
		return errBinding
	}
	jkt, err := cnf.text("jkt")
	if err != nil || jkt != thumbprint {
		return errBinding
	}
	return nil
}

// peekClaims returns the claims of a token that is a signed JWT. Nothing of it is
// verified.
func peekClaims(token string) (object, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, false
	}
	var claims object
	for i, part := range parts[:2] {
		text, err := decodeSegment(part)
		if err != nil {
			return nil, false
		}
		claims, err = parseObject(text)
		if err != nil {
			return nil, false
		}
		if i == 0 && !claims.has("alg") {
			return nil, false
		}
	}
	return claims, true
}
