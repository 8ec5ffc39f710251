package federation

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	maxAMR      = 8  // methods that are taken over
	maxAMRName  = 32 // bytes of one
	maxClaim    = 255
	maxACRValue = 255
)

// Identity is who a customer is at the other provider. The provider vouches for it.
type Identity struct {
	// Subject is the name that it never gives to anybody else.
	Subject string

	// AuthTime is when the customer last signed in there, by our clock; zero if it
	// does not say.
	AuthTime time.Time

	// ACR is the authentication context class that was reached, and AMR how
	// (RFC 8176). Empty if it does not say.
	ACR string
	AMR []string

	claims map[string]any
	party  string // azp
	issuer *Issuer
	remote *remote
	access string
}

// decode reads the claims of an ID Token that was verified.
func (id *Identity) decode(token *oidc.IDToken) error {
	err := token.Claims(&id.claims)
	if err != nil {
		return mismatch("the ID Token cannot be read")
	}
	id.Subject = token.Subject
	id.party, _ = id.claims["azp"].(string)
	if id.claims["azp"] != nil && id.party == "" {
		return mismatch("the ID Token is for nobody")
	}
	id.ACR, _ = id.claims["acr"].(string)
	if len(id.ACR) > maxACRValue {
		return mismatch("the class of the sign-in is too long")
	}
	seconds, ok := id.claims["auth_time"].(float64)
	switch {
	case ok && seconds > 0 && seconds < 1<<40:
		id.AuthTime = time.Unix(int64(seconds), 0)
	case id.claims["auth_time"] != nil:
		return mismatch("the time of the sign-in is none")
	}
	methods, _ := id.claims["amr"].([]any)
	for _, method := range methods {
		name, ok := method.(string)
		if ok && isMethod(name) && len(id.AMR) < maxAMR {
			id.AMR = append(id.AMR, name)
		}
	}
	return nil
}

// isMethod reports whether s looks like a name of RFC 8176.
func isMethod(s string) bool {
	if s == "" || len(s) > maxAMRName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}

// Claim returns a claim that is a text, from the ID Token or, if it is not in there,
// from the userinfo endpoint. An e-mail address that the provider has not verified is
// none. It returns an empty text if there is no such claim.
func (id *Identity) Claim(ctx context.Context, name string) (string, error) {
	if name == "sub" {
		return id.Subject, nil
	}
	claims := id.claims
	if claims[name] == nil && id.remote.provider.UserInfoEndpoint() != "" {
		info, err := id.remote.provider.UserInfo(id.issuer.ctx(ctx), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: id.access}))
		if err != nil {
			return "", unavailable(fmt.Errorf("reading userinfo: %w", brief(err)))
		}
		// OpenID Connect Core 1.0 section 5.3.2: else it may be about anybody.
		if info.Subject != id.Subject {
			return "", mismatch("userinfo is about somebody else")
		}
		claims = nil
		err = info.Claims(&claims)
		if err != nil {
			return "", mismatch("userinfo cannot be read")
		}
	}
	value, _ := claims[name].(string)
	if len(value) > maxClaim {
		return "", mismatch("the claim " + name + " is too long")
	}
	if name == "email" && !isTrue(claims["email_verified"]) {
		return "", nil
	}
	return value, nil
}

// isTrue takes the text, too, which some providers send.
func isTrue(v any) bool { return v == true || v == "true" }
