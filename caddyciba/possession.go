package caddyciba

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// proofs makes what proves that access tokens are the gateway's own (RFC 9449), or
// nil where the provider binds them to no key.
func (g *gate) proofs(s *clientSettings, encryption [][]byte) (*ciba.DPoP, error) {
	if !s.dpop {
		return nil, nil
	}
	keys, err := g.proofKeys(s, encryption)
	if err != nil {
		return nil, err
	}
	return ciba.NewDPoP(ciba.DPoPConfig{Keys: keys})
}

// proofKeys is the operator's key, or else those that the store keeps.
func (g *gate) proofKeys(s *clientSettings, encryption [][]byte) (ciba.DPoPKeys, error) {
	if s.dpopKey != "" {
		jwk, err := ciba.ParsePrivateKey([]byte(s.dpopKey))
		if err != nil {
			return nil, fmt.Errorf("reading dpop_key: %w", err)
		}
		return fixedProofKey(jwk)
	}
	var err error
	g.keyring, err = stepup.NewKeyring(stepup.KeyringConfig{Store: g.store, Name: s.name(), EncryptionKeys: encryption})
	if err != nil {
		return nil, err
	}
	return g.keyring, nil
}

func fixedProofKey(jwk *jose.JSONWebKey) (ciba.DPoPKeys, error) {
	key, err := ciba.NewDPoPKey(jwk, "")
	if err != nil {
		return nil, fmt.Errorf("reading dpop_key: %w", err)
	}
	return ciba.FixedDPoPKey(key), nil
}

// trialProofs makes proofs for a check, which does not open the store: a running Caddy
// may have it. Where the store keeps the key, one is made for the check alone.
func (s *clientSettings) trialProofs() (*ciba.DPoP, error) {
	if !s.dpop || s.dpopKey != "" {
		return new(gate).proofs(s, nil)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key for a check: %w", err)
	}
	keys, err := fixedProofKey(&jose.JSONWebKey{Key: private})
	if err != nil {
		return nil, err
	}
	return ciba.NewDPoP(ciba.DPoPConfig{Keys: keys})
}

var errNoDPoP = errors.New("dpop_htu needs a provider with sender_constraint dpop")

// checkProofs compares the handler with its provider.
func (h *Handler) checkProofs(p Provider) error {
	if h.DPoPHTU != "" && p.SenderConstraint != constraintDPoP {
		return errNoDPoP
	}
	return nil
}

// applyProofs adds to the route what proofs need.
func (h *Handler) applyProofs(p Provider) error {
	err := h.checkProofs(p)
	if err != nil {
		return err
	}
	err = checkProofBase(h.DPoPHTU)
	if err != nil {
		return err
	}
	h.route.Proves = p.SenderConstraint == constraintDPoP
	h.route.ProofBase = h.DPoPHTU
	return nil
}

func checkProofBase(base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil,
		strings.ContainsAny(base, "?#{} "):
		return fmt.Errorf("dpop_htu '%s' is not a plain http or https URL", base)
	}
	return nil
}

func proofBaseArg(d *caddyfile.Dispenser, field *string) error {
	if !d.AllArgs(field) {
		return d.ArgErr()
	}
	err := checkProofBase(*field)
	if err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// A rotated key is what an operator is told of a new key.
type rotatedKey struct {
	Issuer     string `json:"issuer"`
	Thumbprint string `json:"thumbprint,omitempty"`
	Error      string `json:"error,omitempty"`
}

// rotateProofKeys replaces the keys of proofs of all gates of this configuration, or
// of those with one issuer, as far as the store keeps them.
func (a *App) rotateProofKeys(ctx context.Context, issuer string) ([]rotatedKey, error) {
	var rotated []rotatedKey
	done := make(map[string]bool)
	for _, g := range a.gates {
		if g.keyring == nil || issuer != "" && g.issuer != issuer {
			continue
		}
		client := g.issuer + "\x00" + g.client.ClientID()
		if done[client] {
			continue // two gates of one client share their keys
		}
		done[client] = true
		r := rotatedKey{Issuer: g.issuer}
		thumbprint, err := g.keyring.Rotate(ctx)
		if err != nil {
			a.logger.Error("DPoP key was not replaced", zap.String("issuer", g.issuer), zap.Error(err))
			r.Error = "the store did not take the new key; see the log"
		} else {
			a.logger.Info("DPoP key was replaced", zap.String("issuer", g.issuer), zap.String("thumbprint", thumbprint))
			r.Thumbprint = thumbprint
		}
		rotated = append(rotated, r)
	}
	if len(rotated) == 0 {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no gate has a DPoP key that the store keeps")}
	}
	return rotated, nil
}
