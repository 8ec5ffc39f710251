package provider

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxProofAge is how old a DPoP proof may be.
const maxProofAge = time.Minute

// errDPoP is the answer to every fault of a proof (RFC 9449 section 5).
var errDPoP = refuse(codeInvalidDPoPProof, "The DPoP proof is missing or not acceptable.")

// dpopHeader returns the proof of a request, or "" if it has none.
func dpopHeader(r *http.Request) (string, error) {
	proofs := r.Header["Dpop"]
	if len(proofs) == 0 {
		return "", nil
	}
	if len(proofs) > 1 || proofs[0] == "" {
		// An empty header is not none: the token would silently be a plain one.
		return "", errDPoP.because(errors.New("there is more than one proof, or an empty one"))
	}
	return proofs[0], nil
}

// proofClaims are the claims of RFC 9449 section 4.2.
type proofClaims struct {
	ID          string   `json:"jti"`
	Method      string   `json:"htm"`
	URL         string   `json:"htu"`
	IssuedAt    *float64 `json:"iat"`
	AccessToken string   `json:"ath"`
	Nonce       string   `json:"nonce"`
}

// checkDPoP verifies a proof for a request to the endpoint at path, uses it up, and
// returns the thumbprint of its key. At a resource it must be for the access token.
func (p *Provider) checkDPoP(ctx context.Context, algs []string, proof, method, path, accessToken string) (string, error) {
	thumbprint, claims, err := parseProof(proof, algs)
	if err != nil {
		return "", errDPoP.because(err)
	}
	err = claims.check(p.now(), method, p.urls(path), accessToken)
	if err != nil {
		return "", errDPoP.because(err)
	}
	err = p.checkNonce(ctx, claims.Nonce)
	if err != nil {
		return "", err
	}
	until := floatTime(*claims.IssuedAt).Add(maxProofAge + clockSkew)
	err = p.useOnce(ctx, "dpop\x00"+thumbprint+"\x00"+claims.ID, until)
	var refusal *oauthError
	if errors.As(err, &refusal) {
		return "", refusal
	}
	if err != nil {
		return "", errDPoP.because(err)
	}
	return thumbprint, nil
}

// parseProof verifies the signature of a proof by the key that it brings along,
// and returns the thumbprint of the key.
func parseProof(proof string, algs []string) (string, *proofClaims, error) {
	jwt, err := parseJWTWithKey(proof)
	if err != nil {
		return "", nil, err
	}
	if !strings.EqualFold(jwt.header.Typ, "dpop+jwt") {
		return "", nil, errors.New("JWT is not a DPoP proof")
	}
	var key jose.JSONWebKey
	err = key.UnmarshalJSON(jwt.header.JWK)
	if err != nil {
		return "", nil, fmt.Errorf("reading key of proof: %w", err)
	}
	if !key.Valid() || !key.IsPublic() {
		return "", nil, errors.New("key of proof is not a public key")
	}
	// The key is the one in the header, whatever ids are given.
	key.KeyID = jwt.header.Kid
	err = jwt.verify([]jose.JSONWebKey{key}, algs)
	if err != nil {
		return "", nil, err
	}
	var claims proofClaims
	err = json.Unmarshal(jwt.payload, &claims)
	if err != nil {
		return "", nil, fmt.Errorf("reading proof: %w", err)
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", nil, fmt.Errorf("computing thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), &claims, nil
}

func (c *proofClaims) check(now time.Time, method string, endpoints []string, accessToken string) error {
	switch {
	case c.ID == "" || len(c.ID) > maxJTI:
		return errors.New("jti is missing or too long")
	case c.Method != method:
		return errors.New("proof is for another method")
	case !slices.ContainsFunc(endpoints, func(endpoint string) bool { return sameURL(c.URL, endpoint) }):
		return errors.New("proof is for another URL")
	case c.IssuedAt == nil:
		return errors.New("iat is missing")
	case floatTime(*c.IssuedAt).After(now.Add(clockSkew)), floatTime(*c.IssuedAt).Before(now.Add(-maxProofAge)):
		return errors.New("proof is not of now")
	case accessToken != "" && c.AccessToken != tokenHash(accessToken):
		return errors.New("proof is for another access token")
	}
	return nil
}

// tokenHash is the ath claim of RFC 9449 section 4.2.
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sameURL compares an htu claim with the URL of an endpoint, without query and
// fragment, and with scheme and host in any case (RFC 9449 section 4.3).
func sameURL(given, endpoint string) bool {
	u, err := url.Parse(given)
	if err != nil || u.User != nil {
		return false
	}
	want, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	return strings.EqualFold(u.Scheme, want.Scheme) && strings.EqualFold(hostPort(u), hostPort(want)) &&
		u.EscapedPath() == want.EscapedPath()
}

// hostPort returns the host of a URL with its port, also where it goes without
// saying.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[strings.ToLower(u.Scheme)]
	}
	return u.Hostname() + ":" + port
}

// checkSender checks that a request to a resource of ours shows the keys that its
// access token is bound to (RFC 9449 section 7.1; RFC 8705 section 3).
func (p *Provider) checkSender(r *http.Request, scheme, token string, cnf *confirmation, path string) error {
	bound := confirmation{}
	if cnf != nil {
		bound = *cnf
	}
	if bound.X5T != "" && certificateThumbprint(r) != bound.X5T {
		return errors.New("access token is bound to another certificate")
	}
	if strings.EqualFold(scheme, "DPoP") != (bound.JKT != "") {
		return errors.New("access token is of another token type")
	}
	if bound.JKT == "" {
		return nil
	}
	proof, err := dpopHeader(r)
	if err != nil {
		return err
	}
	jkt, err := p.checkDPoP(r.Context(), p.clientAlgs(), proof, r.Method, path, token)
	if err != nil {
		return err
	}
	if jkt != bound.JKT {
		return errors.New("access token is bound to another key")
	}
	return nil
}
