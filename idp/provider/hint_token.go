package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// HintIssuer is somebody whose login_hint_tokens are trusted: for example the
// directory that a call center looks its customers up in. A login_hint_token is a
// signed JWT with iss, aud (this provider's issuer), exp, iat and the claim that
// names the user.
type HintIssuer struct {
	// Issuer is the value of the iss claim. Required.
	Issuer string

	// JWKS is the issuer's JSON Web Key Set of public keys. Required.
	JWKS json.RawMessage

	// Claim names the claim that says who the user is. Default: sub.
	Claim string

	// BySubject says that the claim is a subject of this provider, and not a
	// login name.
	BySubject bool
}

// maxHintTokenLife bounds how far in the future a login_hint_token may expire.
const maxHintTokenLife = 24 * time.Hour

// hintIssuer is a HintIssuer that was checked.
type hintIssuer struct {
	HintIssuer
	keys []jose.JSONWebKey
}

func compileHintIssuers(configured []HintIssuer) (map[string]*hintIssuer, error) {
	issuers := make(map[string]*hintIssuer, len(configured))
	var errs []error
	for _, c := range configured {
		if c.Claim == "" {
			c.Claim = "sub"
		}
		keys, err := parsePublicKeys(c.JWKS)
		switch {
		case c.Issuer == "":
			errs = append(errs, errors.New("a hint issuer has no issuer"))
		case issuers[c.Issuer] != nil:
			errs = append(errs, fmt.Errorf("hint issuer %q is given twice", c.Issuer))
		case err != nil:
			errs = append(errs, fmt.Errorf("hint issuer %q: reading JWKS: %w", c.Issuer, err))
		case len(keys) == 0:
			errs = append(errs, fmt.Errorf("hint issuer %q has no keys", c.Issuer))
		}
		issuers[c.Issuer] = &hintIssuer{HintIssuer: c, keys: keys}
	}
	return issuers, errors.Join(errs...)
}

// errHintExpired says that a login_hint_token was good once.
var errHintExpired = errors.New("login_hint_token has expired")

// checkLoginHintToken returns what a login_hint_token says of the user (CIBA
// checklist A8).
func (p *Provider) checkLoginHintToken(token string) (hint, error) {
	jwt, err := parseJWT(token)
	if err != nil {
		return hint{}, err
	}
	typ := jwt.header.Typ
	if typ != "" && !strings.EqualFold(typ, "JWT") && !strings.EqualFold(typ, "login-hint+jwt") {
		return hint{}, errors.New("JWT is of another type")
	}
	var claims struct {
		jwtTimes
		Issuer   string   `json:"iss"`
		Audience audience `json:"aud"`
	}
	err = json.Unmarshal(jwt.payload, &claims)
	if err != nil {
		return hint{}, fmt.Errorf("reading login_hint_token: %w", err)
	}
	issuer := p.hintIssuers[claims.Issuer]
	if issuer == nil {
		return hint{}, errors.New("issuer of login_hint_token is not trusted")
	}
	err = jwt.verify(issuer.keys, signingAlgs)
	if err != nil {
		return hint{}, err
	}
	if !slices.Contains(claims.Audience, p.cfg.Issuer) {
		return hint{}, errors.New("login_hint_token is for somebody else")
	}
	now := p.now()
	if claims.Expires != nil && !now.Before(floatTime(*claims.Expires).Add(clockSkew)) {
		return hint{}, errHintExpired
	}
	_, err = claims.check(now, maxHintTokenLife)
	if err != nil {
		return hint{}, err
	}
	var all map[string]any
	err = json.Unmarshal(jwt.payload, &all)
	if err != nil {
		return hint{}, fmt.Errorf("reading login_hint_token: %w", err)
	}
	name, _ := all[issuer.Claim].(string)
	if name == "" || len(name) > maxLoginHint {
		return hint{}, fmt.Errorf("login_hint_token has no claim %s", issuer.Claim)
	}
	h := hint{kind: HintToken, login: name, claims: jwt.payload}
	if issuer.BySubject {
		h.login, h.subject = "", name
	}
	return h, nil
}
