package provider

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// serveUserinfo is the userinfo endpoint (OpenID Connect Core 1.0 section 5.3).
func (p *Provider) serveUserinfo(w http.ResponseWriter, r *http.Request) error {
	scheme, token, err := bearerToken(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	set, err := p.keys(ctx)
	if err != nil {
		return unavailable(err)
	}
	claims, err := p.checkAccessToken(set, token)
	if err != nil {
		return invalidToken(err)
	}
	if !slices.Contains(claims.Audience, p.cfg.Issuer) {
		return invalidToken(errors.New("access token is not for us"))
	}
	err = p.checkSender(r, scheme, token, claims.Confirmation, pathUserinfo)
	if err != nil {
		return p.invalidSender(err)
	}
	scope := strings.Fields(claims.Scope)
	if !slices.Contains(scope, scopeOpenID) {
		return &oauthError{
			status:      http.StatusForbidden,
			code:        codeInsufficientScope,
			description: "The access token does not have the scope openid.",
			challenge:   `Bearer error="insufficient_scope", scope="openid"`,
		}
	}
	user, err := p.liveToken(ctx, claims)
	if errors.Is(err, errTokenDead) {
		return invalidToken(err)
	}
	if err != nil {
		return unavailable(err)
	}
	info, err := p.claimsFor(ctx, user, claims.ClientID, ClaimsUserinfo, p.describeScopes(scope))
	if err != nil {
		return unavailable(err)
	}
	info["sub"] = user.ID
	return writeJSON(w, info)
}

// bearerToken returns the scheme and the access token of a request. It is taken from the header
// alone: a URL ends up in logs (RFC 6750 section 2; RFC 9700 section 4.3.2).
func bearerToken(r *http.Request) (string, string, error) {
	headers := r.Header["Authorization"]
	if len(headers) != 1 {
		return "", "", &oauthError{status: http.StatusUnauthorized, challenge: "Bearer"}
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP") || token == "" {
		return "", "", &oauthError{status: http.StatusUnauthorized, challenge: "Bearer"}
	}
	return scheme, token, nil
}

// invalidSender is the answer to a token that comes without the key that it is
// bound to. A fault of the store is none of the sender's.
func (p *Provider) invalidSender(err error) *oauthError {
	var refusal *oauthError
	if !errors.As(err, &refusal) {
		return invalidToken(err)
	}
	if refusal.code != codeInvalidDPoPProof && refusal.code != codeUseDPoPNonce {
		return refusal
	}
	clone := *refusal
	clone.status = http.StatusUnauthorized
	clone.challenge = `DPoP error="` + refusal.code + `", algs="` + strings.Join(p.clientAlgs(), " ") + `"`
	return &clone
}

// invalidToken is the one answer to an access token that is not good.
func invalidToken(cause error) *oauthError {
	return &oauthError{
		status:      http.StatusUnauthorized,
		code:        codeInvalidToken,
		description: "The access token is not good.",
		challenge:   `Bearer error="invalid_token"`,
		cause:       cause,
	}
}
