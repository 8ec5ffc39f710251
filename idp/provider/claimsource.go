package provider

import (
	"context"
	"fmt"
	"maps"
)

// Uses of claims, in a [ClaimsRequest].
const (
	// ClaimsUserinfo is an answer of the userinfo endpoint.
	ClaimsUserinfo = "userinfo"

	// ClaimsAccessToken is an access token.
	ClaimsAccessToken = "access_token"
)

// ClaimsRequest is what claims are needed for.
type ClaimsRequest struct {
	// User is whose claims they are, without the hashes of passwords and codes.
	User *User

	// Client is who has asked, and Scopes what was approved.
	Client ClientInfo
	Scopes []string

	// Names are the claims that the scopes give access to. Others are left out.
	Names []string

	// Use is what the claims are for: ClaimsUserinfo or ClaimsAccessToken.
	Use string
}

// ClaimsSource tells more about users than the user store knows, at the moment in
// which it is needed. It must be safe for concurrent use, and should be quick: a
// client waits for its tokens.
type ClaimsSource interface {
	// Claims returns claims by name, in values that can be encoded as JSON. They
	// take the place of those of the user; what is missing is taken from there. An
	// error means that it can't be said now: no token is made, nothing is used up,
	// and the client is told to come again.
	Claims(ctx context.Context, r *ClaimsRequest) (map[string]any, error)
}

// claimsFor returns the claims of a user that scopes give access to.
func (p *Provider) claimsFor(ctx context.Context, user *User, clientID, use string, scopes []Scope) (map[string]any, error) {
	found := make(map[string]any)
	var names []string
	for _, s := range scopes {
		names = append(names, s.Claims...)
		addClaims(found, user, s.Claims)
	}
	if p.cfg.ClaimsSource == nil || len(names) == 0 {
		return found, nil
	}
	var approved []string
	for _, s := range scopes {
		approved = append(approved, s.Name)
	}
	more, err := p.cfg.ClaimsSource.Claims(ctx, &ClaimsRequest{
		User: user.withoutHashes(), Client: p.clientInfo(clientID), Scopes: approved, Names: names, Use: use,
	})
	if err != nil {
		return nil, fmt.Errorf("asking for claims: %w", err)
	}
	entitled := make(map[string]any, len(names))
	for _, name := range names {
		value, ok := more[name]
		if ok {
			entitled[name] = value
		}
	}
	maps.Copy(found, entitled)
	return found, nil
}
