package ciba

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// maxToken bounds the length of each token in bytes. Longer ones do not fit into
// the header of a request.
const maxToken = 16 << 10

// Tokens are what the customer's approval is good for (CIBA Core section 10.1.1).
// A Tokens that this package hands out has passed verification. Formatting or
// encoding one leaves the secrets out.
type Tokens struct {
	// AccessToken is sent to an API as "Authorization: Bearer …", or "DPoP …" if it
	// is bound to a key. It consists of the characters that RFC 6750 section 2.1
	// allows there.
	AccessToken string `json:"-"`

	// TokenType is "Bearer", or "DPoP" with Config.DPoP.
	TokenType string

	// DPoPKey is the thumbprint of the key that the access token is bound to, for
	// DPoP.Prove. Empty unless TokenType is "DPoP".
	DPoPKey string `json:",omitempty"`

	// RefreshToken is empty unless the provider issued one.
	RefreshToken string `json:"-"`

	// IDToken is the verified ID Token as it came.
	IDToken string `json:"-"`

	// ExpiresAt is when the access token expires, by our clock. Zero means that
	// the provider did not say.
	ExpiresAt time.Time

	// Scope is what was granted. Nil means that the provider did not say, which
	// stands for what was requested.
	Scope []string

	// Claims are what the ID Token says.
	Claims IDClaims

	// AuthorizationDetails is the authorization_details member of the answer as
	// it came, a JSON array (RFC 9396 section 7). Nil if there is none.
	AuthorizationDetails json.RawMessage
}

// Format writes whose tokens these are, and no secret, for every verb.
func (t Tokens) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "tokens for "+printable(t.Claims.Subject, 64))
}

// Check is what an ID Token has to satisfy beyond the protocol. The zero value
// demands nothing.
type Check struct {
	// Subject is the sub that must have approved. Empty takes any customer whom
	// the provider asked.
	Subject string

	// Claims are further claims that must be strings with exactly these values,
	// for example preferred_username where the customer is known by a login name
	// only.
	Claims map[string]string

	// ACR lists the authentication context classes that will do. The acr claim
	// must be one of them. Empty takes any.
	ACR []string

	// RequireACR demands an acr claim even where ACR is empty.
	RequireACR bool

	// NotBefore is the earliest moment at which the customer may have been
	// authenticated; the allowed clock skew is subtracted. If it is set, the
	// auth_time claim is required, unless AuthTimeOptional is set, too.
	// Pending.StartedAt demands a new authentication for the request. Zero demands
	// nothing.
	NotBefore time.Time

	// AuthTimeOptional takes an ID Token without auth_time, as providers send
	// that are not asked for the claim.
	AuthTimeOptional bool
}

// CheckTokens reports whether tokens from Poll satisfy the check. Wait does it
// by itself. The error has CodeMismatch.
func (c *Client) CheckTokens(t *Tokens, check Check) error {
	return c.checkTokens(t, check, "poll")
}

func (c *Client) checkTokens(t *Tokens, check Check, op string) error {
	claims := &t.Claims
	switch {
	case check.Subject != "" && claims.Subject != check.Subject:
		return mismatch(op, "sub is not the expected customer")
	case len(check.ACR) > 0 && !slices.Contains(check.ACR, claims.ACR):
		return mismatch(op, "acr is none of those demanded")
	case check.RequireACR && claims.ACR == "":
		return mismatch(op, "acr is missing")
	}
	for name, want := range check.Claims {
		got, ok := claims.Raw[name].(string)
		if !ok || got != want {
			return mismatch(op, "claim %s is not the expected one", name)
		}
	}
	if check.NotBefore.IsZero() {
		return nil
	}
	if claims.AuthTime.IsZero() {
		if check.AuthTimeOptional {
			return nil
		}
		return mismatch(op, "auth_time is missing")
	}
	// NumericDates are whole seconds as a rule, so the comparison is too.
	if claims.AuthTime.Before(check.NotBefore.Add(-c.skew).Truncate(time.Second)) {
		return mismatch(op, "auth_time is before the request")
	}
	return nil
}

func mismatch(op, format string, args ...any) *Error {
	return &Error{Op: op, Code: CodeMismatch, Err: fmt.Errorf(format, args...)}
}

// parseTokens reads the members of a token answer, without verifying anything.
func parseTokens(o object, now time.Time) (*Tokens, error) {
	t := &Tokens{}
	err := t.parseSecrets(o)
	if err != nil {
		return nil, err
	}
	t.TokenType, err = o.text("token_type")
	if err != nil {
		return nil, err
	}
	switch {
	case strings.EqualFold(t.TokenType, bearerType):
		t.TokenType = bearerType
	case strings.EqualFold(t.TokenType, dpopType):
		t.TokenType = dpopType
	default:
		return nil, fmt.Errorf("token_type is missing or neither Bearer nor DPoP")
	}
	life, err := o.seconds("expires_in", maxLifetime, true)
	if err != nil {
		return nil, err
	}
	if life > 0 {
		t.ExpiresAt = now.Add(life)
	}
	scope, err := o.text("scope")
	if err != nil {
		return nil, err
	}
	if o.has("scope") {
		t.Scope = strings.Fields(scope)
	}
	if o.has("authorization_details") {
		var list []json.RawMessage
		err = json.Unmarshal(o["authorization_details"], &list)
		if err != nil {
			return nil, fmt.Errorf("authorization_details is not an array")
		}
		t.AuthorizationDetails = slices.Clone(o["authorization_details"])
	}
	return t, nil
}

func (t *Tokens) parseSecrets(o object) error {
	var err error
	t.AccessToken, err = o.text("access_token")
	if err != nil {
		return err
	}
	if !isBearerToken(t.AccessToken) {
		return fmt.Errorf("access_token is missing or malformed")
	}
	t.IDToken, err = o.text("id_token")
	if err != nil {
		return err
	}
	if t.IDToken == "" || len(t.IDToken) > maxToken {
		return fmt.Errorf("id_token is missing or too long")
	}
	t.RefreshToken, err = o.text("refresh_token")
	if err != nil {
		return err
	}
	if len(t.RefreshToken) > maxToken {
		return fmt.Errorf("refresh_token is too long")
	}
	return nil
}

// isBearerToken reports whether s is a b64token (RFC 6750 section 2.1), the only
// thing that can follow "Bearer" in a header.
func isBearerToken(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" || len(s) > maxToken {
		return false
	}
	return !strings.ContainsFunc(body, func(r rune) bool { return !isTokenRune(r, "-._~+/") })
}

// isTokenRune reports whether r is an ASCII letter or digit, or one of others.
func isTokenRune(r rune, others string) bool {
	return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune(others, r)
}
