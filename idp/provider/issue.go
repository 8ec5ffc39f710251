package provider

import (
	"context"
	"strings"
	"time"
)

// issue is what tokens are made of.
type issue struct {
	client    *client
	user      *User
	request   *heldRequest
	scope     []string // of the access token
	targets   []string // resource servers of the access token
	cnf       confirmation
	authReqID string // empty when tokens are refreshed
}

// issueTokens makes an access token and an ID Token. It writes nothing.
func (p *Provider) issueTokens(ctx context.Context, i issue) (*tokenResponse, error) {
	set, err := p.keys(ctx)
	if err != nil {
		return nil, err
	}
	now := p.now()
	access, err := p.accessToken(set, i, now)
	if err != nil {
		return nil, err
	}
	id, err := p.idToken(set, i, access, now)
	if err != nil {
		return nil, err
	}
	return &tokenResponse{
		AccessToken: access,
		TokenType:   i.cnf.tokenType(),
		ExpiresIn:   int64(p.cfg.AccessTokenLifetime / time.Second),
		IDToken:     id,
		Scope:       joinScope(i.scope),
		Details:     i.request.Details,
	}, nil
}

func joinScope(names []string) string { return strings.Join(names, " ") }
