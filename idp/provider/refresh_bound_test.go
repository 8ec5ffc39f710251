package provider_test

import (
	"context"
	"crypto/x509"
	"sync/atomic"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// busyRecord is a store in which somebody else writes a request, as many times as it
// is told to, right before the provider does.
type busyRecord struct {
	store.Store
	writes atomic.Int64
}

func (s *busyRecord) Update(ctx context.Context, r *store.Record) error {
	if r.Kind == "idp.request" && s.writes.Add(-1) >= 0 {
		other, err := s.Store.Get(ctx, r.Kind, r.ID)
		if err != nil {
			return err
		}
		err = s.Store.Update(ctx, other)
		if err != nil {
			return err
		}
	}
	return s.Store.Update(ctx, r)
}

// The outbox makes notes in the record of a request too. That is no second use of the
// refresh token.
func TestRefreshBesideTheOutbox(t *testing.T) {
	s := &busyRecord{}
	w := newWorld(t, func(c *provider.Config) {
		s.Store = c.Store
		c.Store = s
		c.Clients[0].GrantTypes = []string{provider.GrantCIBA, provider.GrantRefresh}
	})
	tokens, _ := w.redeemed()
	s.writes.Store(2)
	second := w.refresh("gateway", tokens.str("refresh_token"))
	second.want(t, 200, "")
	s.writes.Store(1000) // without end
	w.refresh("gateway", second.str("refresh_token")).want(t, 503, "temporarily_unavailable")
	s.writes.Store(0)
	third := w.refresh("gateway", second.str("refresh_token"))
	third.want(t, 200, "")
	userinfo(w, third.str("access_token")).want(t, 200, "")
}

// Threats T15: what a refresh token was given out for has to be shown again, on each
// use. A refusal uses nothing up.
func TestRefreshTokensAreBound(t *testing.T) {
	refresh := func(w *world, proofs []string, cert *x509.Certificate, token string) *answer {
		t.Helper()
		return w.with(proofs, cert, "/token", "grant_type", "refresh_token", "refresh_token", token)
	}
	t.Run("dpop", func(t *testing.T) {
		w := refreshWorld(t)
		key, other := newProver(t), newProver(t)
		authReqID, id := w.start()
		w.mustApprove(id)
		tokens := w.redeemWith([]string{key.proof(w, "/token", nil, nil)}, nil, authReqID)
		tokens.want(t, 200, "")
		for range 2 {
			token := tokens.str("refresh_token")
			refresh(w, nil, nil, token).want(t, 400, "invalid_grant")
			refresh(w, []string{other.proof(w, "/token", nil, nil)}, nil, token).want(t, 400, "invalid_grant")
			tokens = refresh(w, []string{key.proof(w, "/token", nil, nil)}, nil, token)
			tokens.want(t, 200, "")
		}
	})
	t.Run("certificate", func(t *testing.T) {
		w := refreshWorld(t)
		w.cfg.Clients[0].CertificateBound = true
		w.restart()
		mine, foreign := &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("foreign")}
		authReqID, id := w.start()
		w.mustApprove(id)
		tokens := w.redeemWith(nil, mine, authReqID)
		tokens.want(t, 200, "")
		for range 2 {
			token := tokens.str("refresh_token")
			refresh(w, nil, foreign, token).want(t, 400, "invalid_grant")
			tokens = refresh(w, nil, mine, token)
			tokens.want(t, 200, "")
		}
		// The client is no longer told to show a certificate: old tokens still need it.
		w.cfg.Clients[0].CertificateBound = false
		w.restart()
		refresh(w, nil, nil, tokens.str("refresh_token")).want(t, 400, "invalid_grant")
	})
	t.Run("from now on", func(t *testing.T) {
		w := refreshWorld(t)
		key := newProver(t)
		tokens, _ := w.redeemed()
		bound := refresh(w, []string{key.proof(w, "/token", nil, nil)}, nil, tokens.str("refresh_token"))
		bound.want(t, 200, "")
		refresh(w, nil, nil, bound.str("refresh_token")).want(t, 400, "invalid_grant")
	})
}
