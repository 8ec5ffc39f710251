package provider

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Bounds of Config.DPoPNonceLifetime.
const (
	minNonceLifetime = 10 * time.Second
	maxNonceLifetime = time.Hour
)

// errUseNonce asks for a proof with the nonce that comes along (RFC 9449 section 8).
var errUseNonce = refuse(codeUseDPoPNonce, "The DPoP proof must have the nonce from the header DPoP-Nonce.")

// nonces makes and checks the nonces of DPoP proofs. Nothing is kept of them: a
// nonce is the code of a span of time under a secret that all nodes share, so that
// nobody can make a proof today that will be good tomorrow.
type nonces struct {
	secret   *sharedSecret
	lifetime time.Duration // of a span; 0: no nonces are asked for
}

// at returns the nonce of the span that lies a number of spans from now.
func (n *nonces) at(key []byte, now time.Time, spans int64) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("DPoP nonce\x00"))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano()/int64(n.lifetime)+spans)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// offerNonce gives the current nonce to whoever comes with a proof, so that the next
// one can have it (RFC 9449 section 8.2). It goes with refusals and successes alike.
func (p *Provider) offerNonce(w http.ResponseWriter, r *http.Request) {
	if p.nonces.lifetime == 0 || len(r.Header["Dpop"]) == 0 {
		return
	}
	key, err := p.nonces.secret.get(r.Context(), p)
	if err != nil {
		p.log.Error("there is no nonce to offer", zap.Error(err)) // the proof is refused for it, too
		return
	}
	w.Header().Set("DPoP-Nonce", p.nonces.at(key, p.now(), 0))
}

// checkNonce checks the nonce of a proof, if one is asked for. That of the last span
// is good as well, so that a nonce lives for one lifetime at least; and that of the
// next one, from a node whose clock is ahead.
func (p *Provider) checkNonce(ctx context.Context, nonce string) error {
	if p.nonces.lifetime == 0 {
		return nil
	}
	if nonce == "" {
		return errUseNonce
	}
	key, err := p.nonces.secret.get(ctx, p)
	if err != nil {
		return unavailable(fmt.Errorf("checking nonce: %w", err))
	}
	now := p.now()
	for _, spans := range []int64{0, -1, 1} {
		if hmac.Equal([]byte(nonce), []byte(p.nonces.at(key, now, spans))) {
			return nil
		}
	}
	return errUseNonce.because(errors.New("nonce is old or not ours"))
}
