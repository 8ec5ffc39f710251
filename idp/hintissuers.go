package idp

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// HintIssuer is somebody whose login_hint_tokens are trusted, for example the
// directory in which a call center looks its customers up. A login_hint_token is
// a signed JWT with iss, aud (the issuer of this provider), exp, iat, and a claim
// that names the customer.
type HintIssuer struct {
	// The iss claim of the tokens. Required.
	Issuer string `json:"issuer,omitempty"`

	// The public keys of the issuer as a JSON Web Key Set. Default: those of
	// jwks_file.
	JWKS json.RawMessage `json:"jwks,omitempty"`

	// A file with the public keys as a JSON Web Key Set, instead of jwks. It is
	// read when the config is loaded. Placeholders are resolved. Default: none.
	JWKSFile string `json:"jwks_file,omitempty"`

	// The claim that names the customer. Default: sub.
	Claim string `json:"claim,omitempty"`

	// Whether the claim is a subject of this provider, and not what customers
	// sign in with. Default: false.
	BySubject bool `json:"by_subject,omitempty"`
}

// check finds what is wrong with the issuer without reading files.
func (i *HintIssuer) check() error {
	switch {
	case i.Issuer == "":
		return errors.New("hint issuer has no issuer")
	case len(i.JWKS) > 0 && i.JWKSFile != "":
		return fmt.Errorf("hint issuer '%s' has both jwks and jwks_file; one is enough", i.Issuer)
	case len(i.JWKS) == 0 && i.JWKSFile == "":
		return fmt.Errorf("hint issuer '%s' has no jwks; its tokens could not be verified", i.Issuer)
	}
	return nil
}

// settings returns the issuer as the provider takes it, with its keys read.
func (i *HintIssuer) settings(repl *caddy.Replacer) (provider.HintIssuer, error) {
	keys, err := readKeys(repl, i.JWKS, i.JWKSFile)
	if err != nil {
		return provider.HintIssuer{}, fmt.Errorf("hint issuer '%s': %w", i.Issuer, err)
	}
	return provider.HintIssuer{Issuer: i.Issuer, JWKS: keys, Claim: i.Claim, BySubject: i.BySubject}, nil
}
