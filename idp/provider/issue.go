package provider

import (
	"context"
	"encoding/json"
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
	details   json.RawMessage
	cnf       confirmation
	authReqID string // empty when tokens are refreshed
	refresh   string // refresh token that goes with them
	pushed    bool
}

// issueTokens makes an access token and an ID Token. It writes nothing.
func (p *Provider) issueTokens(ctx context.Context, i issue) (*tokenResponse, error) {
	set, err := p.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	now := p.now()
	access, err := p.accessToken(ctx, set, i, now)
	if err != nil {
		return nil, err
	}
	id, err := p.idToken(set, i, access, now)
	if err != nil {
		return nil, err
	}
	return &tokenResponse{
		AccessToken:  access,
		TokenType:    i.cnf.tokenType(),
		ExpiresIn:    int64(p.cfg.AccessTokenLifetime / time.Second),
		IDToken:      id,
		RefreshToken: i.refresh,
		Scope:        joinScope(i.scope),
		Details:      i.details,
	}, nil
}

// firstTokens makes the tokens of an approved request, with a refresh token if the
// client gets any, and what is to be written down when they leave the provider.
func (p *Provider) firstTokens(ctx context.Context, i issue) (*tokenResponse, func(*requestRecord), error) {
	now := p.now()
	var refresh *refreshState
	if i.client.mayRefresh() {
		var err error
		i.refresh, refresh, err = p.newRefresh(i.request, now.Add(p.cfg.RefreshTokenLifetime), i.cnf)
		if err != nil {
			return nil, nil, err
		}
	}
	tokens, err := p.issueTokens(ctx, i)
	if err != nil {
		return nil, nil, err
	}
	return tokens, func(r *requestRecord) {
		r.Redeemed = now.UnixMilli()
		r.Refresh = refresh
		r.KeepUntil = p.keepUntil(now, refresh)
	}, nil
}

func joinScope(names []string) string { return strings.Join(names, " ") }
