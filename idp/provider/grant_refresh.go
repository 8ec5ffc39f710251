package provider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// GrantRefresh is the grant type of RFC 6749 section 6.
const GrantRefresh = "refresh_token"

// refreshSecretBytes is the size of the secret half of a refresh token. The other
// half is the id of the request that it goes back to, whose record is the family
// of all its refresh tokens.
const refreshSecretBytes = 32

// refreshState is the one good refresh token of a family. Each use replaces it.
type refreshState struct {
	Hash    string `json:"hash"`    // base64url SHA-256 of the secret
	Expires int64  `json:"expires"` // Unix milliseconds; the same for all of a family

	// Bound is what the client has shown when it got the token. It has to show
	// the same to use it.
	Bound *confirmation `json:"cnf,omitempty"`
}

// refreshTries bounds how often a refresh is repeated that others get in the way of.
const refreshTries = 8

var errRefreshToken = refuse(codeInvalidGrant, "The refresh token is unknown, was used, has expired, or belongs to another client.")

// errRefreshKey is the answer to a client that shows another key than before, or none
// any more (RFC 9449 section 5; RFC 8705 section 4).
var errRefreshKey = refuse(codeInvalidGrant, "The refresh token was given out for another key.")

// newRefresh returns a refresh token of a request and what is kept of it.
func (p *Provider) newRefresh(h *heldRequest, expires time.Time, cnf confirmation) (string, *refreshState, error) {
	id, err := base64.RawURLEncoding.DecodeString(h.id)
	if err != nil {
		return "", nil, fmt.Errorf("decoding request id: %w", err)
	}
	secret := make([]byte, refreshSecretBytes)
	_, err = io.ReadFull(p.cfg.Rand, secret)
	if err != nil {
		return "", nil, fmt.Errorf("reading randomness: %w", err)
	}
	token := base64.RawURLEncoding.EncodeToString(append(id, secret...))
	state := &refreshState{Hash: refreshHash(secret), Expires: expires.UnixMilli()}
	if !cnf.none() {
		state.Bound = &cnf
	}
	return token, state, nil
}

func refreshHash(secret []byte) string {
	sum := sha256.Sum256(secret)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// splitRefresh returns the request id and the hash of the secret of a token.
func splitRefresh(token string) (id, hash string, ok bool) {
	const size = sha256.Size + refreshSecretBytes
	if !isTokenID(token, size) {
		return "", "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", "", false
	}
	return base64.RawURLEncoding.EncodeToString(raw[:sha256.Size]), refreshHash(raw[sha256.Size:]), true
}

// mayRefresh reports whether the client gets refresh tokens.
func (c *client) mayRefresh() bool { return c.hasGrant(GrantRefresh) }

// grantRefresh is the refresh token grant. Each token is good once; one that
// comes a second time was stolen or is used by a thief, and ends its whole family
// (RFC 9700 section 4.14.2).
func (p *Provider) grantRefresh(r *http.Request, c *client, f *form) (*tokenResponse, error) {
	ctx := r.Context()
	token := f.get("refresh_token")
	if token == "" {
		return nil, badRequest("refresh_token is missing.")
	}
	h, err := p.refreshFamily(ctx, c, token)
	if err != nil {
		return nil, err
	}
	cnf, err := p.readConfirmation(r, c, pathToken)
	if err != nil {
		return nil, err
	}
	if h.Refresh.Bound != nil && !cnf.continues(*h.Refresh.Bound) {
		return nil, errRefreshKey
	}
	granted := p.scopesLeft(c, h.Granted)
	scope := granted
	if f.get("scope") != "" {
		err = checkNarrowing(f.get("scope"), granted)
		if err != nil {
			return nil, err
		}
		scope = strings.Fields(f.get("scope"))
	}
	err = checkSameDetails(f.get("authorization_details"), h.Details)
	if err != nil {
		return nil, err
	}
	details, err := p.detailsLeft(c, h.Details)
	if err != nil {
		return nil, err
	}
	targets, err := p.targets(h, scope, f.all("resource"))
	if err != nil {
		return nil, err
	}
	user, err := p.redeemingUser(ctx, h)
	if err != nil {
		return nil, err
	}
	tokens, err := p.issueTokens(ctx, issue{
		client: c, user: user, request: h, scope: p.scopeFor(scope, targets), targets: targets, details: details, cnf: cnf,
	})
	if err != nil {
		return nil, unavailable(fmt.Errorf("making tokens: %w", err))
	}
	next, state, err := p.newRefresh(h, time.UnixMilli(h.Refresh.Expires), cnf)
	if err != nil {
		return nil, err
	}
	err = p.replaceRefresh(ctx, c, h, token, state)
	if err != nil {
		return nil, err
	}
	tokens.RefreshToken = next
	return tokens, nil
}

// replaceRefresh uses a refresh token up by writing down its successor. If the record
// has changed meanwhile, it tells by reading it again whether the same token was used,
// which refreshFamily then deals with, or the outbox has only made a note there.
func (p *Provider) replaceRefresh(ctx context.Context, c *client, h *heldRequest, token string, state *refreshState) error {
	for range refreshTries {
		err := p.move(ctx, h, StateRedeemed, func(r *requestRecord) {
			r.Refresh = state
			r.Callback = nil // a client that refreshes has what was pushed
		})
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return unavailable(err)
		}
		h, err = p.refreshFamily(ctx, c, token)
		if err != nil {
			return err
		}
	}
	return unavailable(errors.New("the record of the refresh token never rests"))
}

// refreshFamily returns the request that a refresh token goes back to, if the
// token is good and the client's own. A token of another client is as good as
// none, and its family stays as it is.
func (p *Provider) refreshFamily(ctx context.Context, c *client, token string) (*heldRequest, error) {
	id, hash, ok := splitRefresh(token)
	if !ok {
		return nil, errRefreshToken
	}
	h, err := p.loadRequest(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, errRefreshToken
	}
	if err != nil {
		return nil, unavailable(err)
	}
	if h.Client != c.ID || h.State != StateRedeemed || h.Refresh == nil || h.Revoked != 0 {
		return nil, errRefreshToken
	}
	if subtle.ConstantTimeCompare([]byte(hash), []byte(h.Refresh.Hash)) != 1 {
		return nil, p.revokeReplayed(ctx, h.id, errRefreshToken)
	}
	if !p.now().Before(time.UnixMilli(h.Refresh.Expires)) {
		return nil, errRefreshToken
	}
	return h, nil
}

// revokeReplayed ends all tokens of a request whose auth_req_id or refresh token
// was used a second time, and returns the refusal. If they can't be revoked now
// the client hears that instead, and nothing has been used up.
func (p *Provider) revokeReplayed(ctx context.Context, id string, refusal *oauthError) error {
	err := p.revoke(ctx, id, "used twice")
	if err != nil {
		return err
	}
	return refusal
}

// revoke ends all tokens of a redeemed request. Only redeemed requests have any.
func (p *Provider) revoke(ctx context.Context, id, reason string) error {
	for {
		h, err := p.loadRequest(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return unavailable(err)
		}
		if h.State != StateRedeemed || h.Revoked != 0 {
			return nil
		}
		err = p.move(ctx, h, StateRedeemed, func(r *requestRecord) {
			r.Revoked = p.now().UnixMilli()
			r.Refresh = nil
			r.Callback = nil
			r.Reported = reason == reasonReported
		})
		if errors.Is(err, store.ErrConflict) {
			continue // a refresh came first; its token must go too
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return unavailable(err)
		}
		p.log.Warn("tokens revoked", zap.String("request", h.id), zap.String("client", h.Client), zap.String("reason", reason))
		p.raiseBecause(ctx, EventRevoked, h, reason)
		return nil
	}
}
