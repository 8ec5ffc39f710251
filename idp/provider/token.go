package provider

import (
	"encoding/json"
	"net/http"
)

// tokenResponse is the answer of RFC 6749 section 5.1 and CIBA Core 1.0 section
// 10.1.1.
type tokenResponse struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	ExpiresIn    int64           `json:"expires_in"`
	IDToken      string          `json:"id_token,omitempty"`
	RefreshToken string          `json:"refresh_token,omitempty"`
	Scope        string          `json:"scope"`
	Details      json.RawMessage `json:"authorization_details,omitempty"`
}

// grant is how one grant type makes tokens.
type grant func(p *Provider, r *http.Request, c *client, f *form) (*tokenResponse, error)

// grants are the grant types of the token endpoint.
var grants = map[string]grant{
	GrantCIBA:    (*Provider).grantCIBA,
	GrantRefresh: (*Provider).grantRefresh,
}

// serveToken is the token endpoint.
func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := p.admit(r, f)
	if err != nil {
		return err
	}
	grantType := f.get("grant_type")
	if grantType == "" {
		return badRequest("grant_type is missing.")
	}
	grant, ok := grants[grantType]
	if !ok {
		return refuse(codeUnsupportedGrantType, "The grant type is not supported.")
	}
	// A push client has nothing to collect (CIBA Core 1.0 section 11).
	if !c.hasGrant(grantType) || grantType == GrantCIBA && c.DeliveryMode == DeliveryPush {
		return refuse(codeUnauthorizedClient, "The client may not use this grant type.")
	}
	tokens, err := grant(p, r, c, f)
	if err != nil {
		return err
	}
	return writeJSON(w, tokens)
}
