package ciba

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// Names of the claims that CIBA Core section 10.3.1 defines.
const (
	claimAuthReqID = "urn:openid:params:jwt:claim:auth_req_id"
	claimRTHash    = "urn:openid:params:jwt:claim:rt_hash"
)

// maxIDTokenAge is how long ago an ID Token may have been issued. It is made for
// the answer that carries it.
const maxIDTokenAge = 10 * time.Minute

// IDClaims are the claims of a verified ID Token.
type IDClaims struct {
	// Issuer equals Config.Issuer.
	Issuer string

	// Subject is the customer, by the provider's name for them. Never empty.
	Subject string

	// Audience contains Config.ClientID. If it contains others, the azp claim is
	// Config.ClientID.
	Audience []string

	// ACR is the authentication context class that was reached. Empty if the
	// provider did not say.
	ACR string

	// AMR lists the methods by which the customer was authenticated. Nil if the
	// provider did not say.
	AMR []string

	// AuthTime is when the customer was authenticated. Zero if the provider did
	// not say.
	AuthTime time.Time

	// IssuedAt and Expiry bound the life of the ID Token.
	IssuedAt, Expiry time.Time

	// Raw are all claims. Numbers are json.Number and keep their digits.
	Raw map[string]any
}

// binding is what an ID Token must fit besides the tokens that it came with.
type binding struct {
	authReqID string

	// pushed demands the claims that tie the ID Token to the rest. They are the
	// only proof that what was brought to us belongs together (CIBA Core section
	// 10.3.1).
	pushed bool
}

// verify fills in the claims of tokens whose ID Token is in order.
func (c *Client) verify(ctx context.Context, op string, t *Tokens, b binding) error {
	claims, err := c.verifyIDToken(ctx, op, t, b)
	if err != nil {
		return err
	}
	t.Claims = *claims
	return nil
}

// verifyIDToken verifies the ID Token of an answer: the signature, issuer,
// audience and expiry by go-oidc, with a key of our own choice, and then what
// go-oidc leaves to its callers.
func (c *Client) verifyIDToken(ctx context.Context, op string, t *Tokens, b binding) (*IDClaims, error) {
	header, err := c.parseHeader(t.IDToken)
	if err != nil {
		return nil, invalidToken(op, err)
	}
	md, err := c.metadata.get(ctx)
	if err != nil {
		return nil, fetchFailure(ctx, op, err)
	}
	if !md.signsWith(header.alg) {
		return nil, invalidToken(op, errors.New("signing algorithm is not one that the provider publishes"))
	}
	key, err := c.signingKey(ctx, header.kid, header.alg)
	if err != nil {
		var e *Error
		if ctx.Err() != nil || errors.As(err, &e) {
			return nil, fetchFailure(ctx, op, err)
		}
		return nil, invalidToken(op, err)
	}
	verifier := oidc.NewVerifier(c.issuer, singleKey{key: key, alg: header.alg}, &oidc.Config{
		ClientID:             c.clientID,
		SupportedSigningAlgs: []string{header.alg},
		// go-oidc knows no leeway for exp; it is given by moving the clock.
		Now: func() time.Time { return c.now().Add(-c.skew) },
	})
	verified, err := verifier.Verify(ctx, t.IDToken)
	if err != nil {
		// The text quotes the token.
		return nil, invalidToken(op, errors.New(printable(err.Error(), 200)))
	}
	var payload json.RawMessage
	err = verified.Claims(&payload)
	if err != nil {
		return nil, invalidToken(op, errors.New("claims are not JSON"))
	}
	claims, err := c.judge(payload, header.alg, t, b)
	if err != nil {
		return nil, invalidToken(op, err)
	}
	return claims, nil
}

func invalidToken(op string, cause error) *Error {
	return &Error{Op: op, Code: CodeInvalidToken, Err: fmt.Errorf("verifying ID Token: %w", cause)}
}

// singleKey is the oidc.KeySet of one key that has been chosen by kid and alg.
type singleKey struct {
	key crypto.PublicKey
	alg string
}

// VerifySignature implements oidc.KeySet.
func (k singleKey) VerifySignature(_ context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(k.alg)})
	if err != nil {
		return nil, fmt.Errorf("parsing token: %w", err)
	}
	return signed.Verify(k.key)
}

// joseHeader is what the header of an ID Token has to tell us.
type joseHeader struct {
	alg, kid string
}

// parseHeader judges the header before anything is done with the token. Members
// that bring a key of their own, or change what the rest means, are refused: the
// key is the provider's, from its key set.
func (c *Client) parseHeader(token string) (*joseHeader, error) {
	parts := strings.Split(token, ".")
	// go-jose overlooks white space; what is not of the alphabet is refused here.
	if len(parts) != 3 || strings.ContainsFunc(token, notCompact) {
		return nil, errors.New("token is not a compact JWS")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil {
		return nil, errors.New("header is not base64url")
	}
	o, err := parseObject(raw)
	if err != nil {
		return nil, fmt.Errorf("reading header: %w", err)
	}
	for _, name := range []string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"} {
		_, ok := o[name]
		if ok {
			return nil, fmt.Errorf("header has %s", name)
		}
	}
	h := &joseHeader{}
	h.alg, err = o.text("alg")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(c.algs, h.alg) {
		return nil, errors.New("signing algorithm is not allowed")
	}
	h.kid, err = o.text("kid")
	if err != nil {
		return nil, err
	}
	typ, err := o.text("typ")
	if err != nil {
		return nil, err
	}
	// Other kinds of JWT of the same provider have types of their own, as access
	// tokens do (RFC 9068).
	if typ != "" && !strings.EqualFold(typ, "JWT") && !strings.EqualFold(typ, "application/jwt") {
		return nil, errors.New("token is not of type JWT")
	}
	return h, nil
}

func notCompact(r rune) bool {
	return !isTokenRune(r, "-_.")
}

// judge reads the claims and checks what go-oidc does not.
func (c *Client) judge(payload []byte, alg string, t *Tokens, b binding) (*IDClaims, error) {
	o, err := parseObject(payload)
	if err != nil {
		return nil, fmt.Errorf("reading claims: %w", err)
	}
	claims, err := readClaims(o)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	err = dec.Decode(&claims.Raw)
	if err != nil {
		return nil, errors.New("claims are not a JSON object")
	}
	err = c.judgeParties(o, claims)
	if err != nil {
		return nil, err
	}
	err = c.judgeTimes(o, claims)
	if err != nil {
		return nil, err
	}
	return claims, judgeBinding(o, alg, t, b)
}

func readClaims(o object) (*IDClaims, error) {
	claims := &IDClaims{}
	var err error
	claims.Issuer, err = o.text("iss")
	if err != nil {
		return nil, err
	}
	claims.Subject, err = o.text("sub")
	if err != nil {
		return nil, err
	}
	claims.Audience, err = audience(o)
	if err != nil {
		return nil, err
	}
	claims.ACR, err = o.text("acr")
	if err != nil {
		return nil, err
	}
	claims.AMR, err = o.texts("amr")
	if err != nil {
		return nil, err
	}
	claims.AuthTime, _, err = o.date("auth_time")
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// audience reads aud, which is a string or an array of strings.
func audience(o object) ([]string, error) {
	one, err := o.text("aud")
	if err == nil && one != "" {
		return []string{one}, nil
	}
	list, err := o.texts("aud")
	if err != nil {
		return nil, errors.New("aud is neither a string nor an array of strings")
	}
	return list, nil
}

// judgeParties checks who issued the token, about whom, and for whom. Issuer and
// audience are compared here once more because go-oidc makes an exception for
// one issuer and has no opinion on further audiences.
func (c *Client) judgeParties(o object, claims *IDClaims) error {
	azp, err := o.text("azp")
	if err != nil {
		return err
	}
	switch {
	case claims.Issuer != c.issuer:
		return errors.New("iss is another issuer")
	case claims.Subject == "" || len(claims.Subject) > 255:
		return errors.New("sub is missing or too long")
	case !slices.Contains(claims.Audience, c.clientID):
		return errors.New("aud does not name this client")
	case azp != "" && azp != c.clientID:
		return errors.New("azp is another client")
	case len(claims.Audience) > 1 && azp == "":
		return errors.New("aud names others and azp is missing")
	}
	_, ok := o["nonce"]
	if ok {
		return errors.New("nonce was never sent: the token belongs to another flow")
	}
	return nil
}

func (c *Client) judgeTimes(o object, claims *IDClaims) error {
	now := c.now()
	var ok bool
	var err error
	claims.Expiry, ok, err = o.date("exp")
	if err != nil {
		return err
	}
	if !ok || !now.Add(-c.skew).Before(claims.Expiry) {
		return errors.New("exp is missing or past")
	}
	claims.IssuedAt, ok, err = o.date("iat")
	if err != nil {
		return err
	}
	switch {
	case !ok:
		return errors.New("iat is missing")
	case claims.IssuedAt.After(now.Add(c.skew)):
		return errors.New("iat is in the future")
	case claims.IssuedAt.Before(now.Add(-maxIDTokenAge - c.skew)):
		return errors.New("iat is too long ago")
	}
	notBefore, ok, err := o.date("nbf")
	if err != nil {
		return err
	}
	if ok && notBefore.After(now.Add(c.skew)) {
		return errors.New("nbf is in the future")
	}
	if claims.AuthTime.After(now.Add(c.skew)) {
		return errors.New("auth_time is in the future")
	}
	return nil
}

// judgeBinding checks the claims that tie the ID Token to the rest of the answer.
// From the token endpoint each is optional, and right if it is there; a push has
// to bring those that apply.
func judgeBinding(o object, alg string, t *Tokens, b binding) error {
	for _, claim := range []struct {
		name, want string
		required   bool
	}{
		{"at_hash", leftHash(alg, t.AccessToken), b.pushed},
		{claimAuthReqID, b.authReqID, b.pushed},
		{claimRTHash, leftHash(alg, t.RefreshToken), b.pushed && t.RefreshToken != ""},
	} {
		_, ok := o[claim.name]
		if !ok {
			if claim.required {
				return fmt.Errorf("%s is missing", claim.name)
			}
			continue
		}
		got, err := o.text(claim.name)
		if err != nil {
			return err
		}
		if got != claim.want || (claim.name == claimRTHash && t.RefreshToken == "") {
			return fmt.Errorf("%s does not match", claim.name)
		}
	}
	return nil
}

// leftHash is the left half of the hash of a token, by the hash of the signing
// algorithm (OpenID Connect Core 1.0 section 3.1.3.6). Ed25519 hashes by SHA-512.
func leftHash(alg, token string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(alg, "256"):
		h := sha256.Sum256([]byte(token))
		sum = h[:]
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(token))
		sum = h[:]
	default:
		h := sha512.Sum512([]byte(token))
		sum = h[:]
	}
	return encodeSegment(sum[:len(sum)/2])
}
