package stepup

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// proofHeader is where the proof of a token that is bound to a key goes (RFC 9449
// section 4.1).
const proofHeader = "Dpop"

var errNoProof = errors.New("token is bound to a key, and the gate has none")

// proofTarget is the URL of a request as its upstream knows it: that of the operator
// with the request's path behind it, or else what the caller has asked for. A query
// belongs to no proof.
func (rt *Route) proofTarget(scheme, host string, u *url.URL) string {
	path := u.EscapedPath()
	if rt.ProofBase != "" {
		return strings.TrimSuffix(rt.ProofBase, "/") + path
	}
	return scheme + "://" + strings.ToLower(host) + path
}

// setToken sets the access token, with a proof for this one request if it is bound to
// a key.
func (g *Gate) setToken(ctx context.Context, rt *Route, tokens *ciba.Tokens, header http.Header, method, target string) error {
	if rt.NoToken {
		return nil
	}
	scheme := "Bearer"
	if tokens.DPoPKey != "" {
		if g.dpop == nil {
			return errNoProof
		}
		proof, err := g.dpop.Prove(ctx, tokens, method, target)
		if err != nil {
			return err
		}
		scheme = "DPoP"
		header[proofHeader] = []string{proof}
	}
	name := http.CanonicalHeaderKey(cmp.Or(rt.TokenHeader, defaultTokenHeader))
	token := tokens.AccessToken
	if name == defaultTokenHeader {
		token = scheme + " " + token
	}
	header[name] = []string{token}
	return nil
}

// proofRefusal is the answer when there is no proof to send. Nothing was sent then.
func proofRefusal(err error) *Refusal {
	if errors.Is(err, ciba.ErrUnknownDPoPKey) || errors.Is(err, errNoProof) {
		return refuse(ProblemMisconfigured, "Nothing was sent. The operator has to act.", err)
	}
	return storeRefusal(err)
}

// learn takes the nonce of an upstream's answer for later proofs, and says so to the
// operator where this request was refused for want of it. It is not repeated: that the
// upstream has done nothing is its word alone.
func (h *hold) learn(tokens *ciba.Tokens, target string, status int, header http.Header) {
	if h.gate.dpop == nil {
		return
	}
	h.gate.dpop.Learn(target, header)
	if tokens.DPoPKey != "" && status == http.StatusUnauthorized && WantsNonce(header) {
		h.gate.log.Warn("upstream demands a DPoP nonce; the next request will have it, this one is not repeated",
			zap.String("transaction", h.entry.ID), zap.String("route", h.route.Name))
	}
}

// WantsNonce reports whether a 401 is an upstream's demand for a proof with a nonce
// (RFC 9449 section 9): the token itself may still be good.
func WantsNonce(header http.Header) bool {
	for _, value := range header.Values("WWW-Authenticate") {
		for _, found := range authChallenges(value) {
			if found.scheme == "dpop" && found.params["error"] == "use_dpop_nonce" {
				return true
			}
		}
	}
	return false
}

// Learn takes the nonce of an upstream's answer to a request that Covered has
// returned, or that went on without an approval, for later proofs. The target is the
// URL that the request was for.
func (g *Gate) Learn(rt *Route, r *http.Request, header http.Header) {
	if g.dpop != nil {
		g.dpop.Learn(rt.proofTarget(schemeOf(r), r.Host, r.URL), header)
	}
}

// schemeOf is https if the caller's connection to this server is encrypted.
func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}
