package provider

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// kindRevoked marks single access tokens as revoked, until they expire.
const kindRevoked = "idp.revoked"

// serveRevoke is the revocation endpoint (RFC 7009). Besides access and refresh
// tokens it takes an auth_req_id, by which a client cancels a request that it
// does not need any more: the user need not be asked for nothing. What is unknown,
// or another client's, is answered like what was revoked, as section 2.2 says for
// invalid tokens.
func (p *Provider) serveRevoke(w http.ResponseWriter, r *http.Request) error {
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
	err = p.revokeToken(r.Context(), c, token)
	if err != nil {
		return err
	}
	noStore(w.Header())
	w.WriteHeader(http.StatusOK)
	return nil
}

func (p *Provider) revokeToken(ctx context.Context, c *client, token string) error {
	if isTokenID(token, authReqIDBytes) {
		return p.takeBack(ctx, requestID(token), c.ID, "cancelled by the client")
	}
	id, _, isRefresh := splitRefresh(token)
	if isRefresh {
		h, err := p.loadRequest(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return unavailable(err)
		}
		if h.Client != c.ID || !h.isRefreshToken(token) {
			return nil
		}
		return p.revoke(ctx, id, "asked for by the client")
	}
	set, err := p.keys(ctx)
	if err != nil {
		return unavailable(err)
	}
	claims, err := p.checkAccessToken(set, token)
	if err != nil || claims.ClientID != c.ID {
		return nil // nothing of the client's that is still good
	}
	err = p.cfg.Store.Create(ctx, &store.Record{
		Kind: kindRevoked, ID: requestID(claims.ID), Expires: time.Unix(claims.Expires, 0),
	})
	if err != nil && !errors.Is(err, store.ErrExists) {
		return unavailable(fmt.Errorf("writing revocation: %w", err))
	}
	return nil
}

// takeBack cancels a request of the client that was not redeemed yet, and revokes the
// tokens of one that was.
func (p *Provider) takeBack(ctx context.Context, id, client, reason string) error {
	for {
		h, err := p.loadRequest(ctx, id)
		if errors.Is(err, ErrNotFound) || err == nil && h.Client != client {
			return nil
		}
		if err != nil {
			return unavailable(err)
		}
		switch h.stateAt(p.now()) {
		case StatePending, StateApproved:
		case StateRedeemed:
			return p.revoke(ctx, id, reason)
		default:
			return nil
		}
		err = p.move(ctx, h, StateCancelled, func(r *requestRecord) { r.Reported = reason == reasonReported })
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			continue // it went on in the meantime; each turn is nearer to its end
		}
		if err != nil {
			return unavailable(err)
		}
		p.log.Info("request cancelled", zap.String("request", h.id), zap.String("client", h.Client),
			zap.String("subject", h.Subject), zap.String("reason", reason))
		p.raise(ctx, EventCancelled, h)
		return nil
	}
}

// isRefreshToken reports whether the token is the good one of its family.
func (h *heldRequest) isRefreshToken(token string) bool {
	_, hash, ok := splitRefresh(token)
	return ok && h.State == StateRedeemed && h.Refresh != nil && subtle.ConstantTimeCompare([]byte(hash), []byte(h.Refresh.Hash)) == 1
}
