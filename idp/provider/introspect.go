package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// introspection is the answer of RFC 7662 section 2.2.
type introspection struct {
	Active       bool            `json:"active"`
	TokenType    string          `json:"token_type,omitempty"`
	Issuer       string          `json:"iss,omitempty"`
	Subject      string          `json:"sub,omitempty"`
	Audience     audience        `json:"aud,omitempty"`
	ClientID     string          `json:"client_id,omitempty"`
	Scope        string          `json:"scope,omitempty"`
	Expires      int64           `json:"exp,omitempty"`
	IssuedAt     int64           `json:"iat,omitempty"`
	ID           string          `json:"jti,omitempty"`
	AuthTime     int64           `json:"auth_time,omitempty"`
	ACR          string          `json:"acr,omitempty"`
	AMR          []string        `json:"amr,omitempty"`
	Confirmation *confirmation   `json:"cnf,omitempty"`
	Transaction  string          `json:"txn,omitempty"`
	Details      json.RawMessage `json:"authorization_details,omitempty"`
}

// serveIntrospect is the introspection endpoint (RFC 7662). A client learns about
// its own tokens, and a resource server about those that are meant for it; all
// other tokens are simply not active.
func (p *Provider) serveIntrospect(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := p.admit(r, f)
	if err != nil {
		return err
	}
	token := f.get("token")
	if token == "" {
		return badRequest("token is missing.")
	}
	ctx := r.Context()
	id, _, isRefresh := splitRefresh(token)
	if isRefresh {
		return p.introspectRefresh(ctx, w, c, id, token)
	}
	set, err := p.keys(ctx)
	if err != nil {
		return unavailable(err)
	}
	claims, err := p.checkAccessToken(set, token)
	if err != nil {
		return writeJSON(w, introspection{})
	}
	if claims.ClientID != c.ID && (c.Resource == "" || !slices.Contains(claims.Audience, c.Resource)) {
		return writeJSON(w, introspection{})
	}
	_, err = p.liveToken(ctx, claims)
	if errors.Is(err, errTokenDead) {
		return writeJSON(w, introspection{})
	}
	if err != nil {
		return unavailable(err)
	}
	tokenType := "Bearer"
	if claims.Confirmation != nil {
		tokenType = claims.Confirmation.tokenType()
	}
	return writeJSON(w, introspection{
		Active: true, TokenType: tokenType, Confirmation: claims.Confirmation, Issuer: claims.Issuer, Subject: claims.Subject, Audience: claims.Audience,
		ClientID: claims.ClientID, Scope: claims.Scope, Expires: claims.Expires, IssuedAt: claims.IssuedAt, ID: claims.ID,
		AuthTime: claims.AuthTime, ACR: claims.ACR, AMR: claims.AMR, Transaction: claims.Transaction, Details: claims.Details,
	})
}

// introspectRefresh tells a client about its own refresh token. Asking uses
// nothing up and revokes nothing.
func (p *Provider) introspectRefresh(ctx context.Context, w http.ResponseWriter, c *client, id, token string) error {
	h, err := p.loadRequest(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return writeJSON(w, introspection{})
	}
	if err != nil {
		return unavailable(err)
	}
	if h.Client != c.ID || !h.isRefreshToken(token) || h.Revoked != 0 || p.now().UnixMilli() >= h.Refresh.Expires {
		return writeJSON(w, introspection{})
	}
	return writeJSON(w, introspection{
		Active: true, TokenType: "refresh_token", Issuer: p.cfg.Issuer, Subject: h.Subject, ClientID: h.Client,
		Scope: joinScope(h.Granted), Expires: h.Refresh.Expires / 1000, Transaction: h.id,
	})
}

// errTokenDead says that an access token is no longer good although it has not
// expired.
var errTokenDead = errors.New("access token was revoked, or its user or client is gone")

// liveToken checks what a signature can't tell of an access token: that neither it
// nor its family was revoked, and that its user and client are still served. It
// returns the user.
func (p *Provider) liveToken(ctx context.Context, claims *accessTokenClaims) (*User, error) {
	c := p.clients[claims.ClientID]
	if c == nil || c.Disabled {
		return nil, errTokenDead
	}
	h, err := p.loadRequest(ctx, claims.Transaction)
	if errors.Is(err, ErrNotFound) || err == nil && (h.State != StateRedeemed || h.Revoked != 0) {
		return nil, errTokenDead
	}
	if err != nil {
		return nil, err
	}
	_, err = p.cfg.Store.Get(ctx, kindRevoked, requestID(claims.ID))
	if err == nil {
		return nil, errTokenDead
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	user, err := p.activeUser(ctx, claims.Subject)
	if errors.Is(err, ErrUserNotFound) {
		return nil, errTokenDead
	}
	return user, err
}

// keepUntil is how long the record of a redeemed request is needed.
func (p *Provider) keepUntil(now time.Time, refresh *refreshState) int64 {
	until := now.Add(p.cfg.AccessTokenLifetime + time.Minute)
	if refresh != nil {
		until = time.UnixMilli(refresh.Expires).Add(p.cfg.AccessTokenLifetime + time.Minute)
	}
	return until.UnixMilli()
}
