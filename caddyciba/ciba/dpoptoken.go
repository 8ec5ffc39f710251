package ciba

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// codeUseDPoPNonce is the answer to a proof without the nonce that a server demands
// (RFC 9449 section 8).
const codeUseDPoPNonce = "use_dpop_nonce"

const (
	bearerType = "Bearer"
	dpopType   = "DPoP"
)

// provable says why no proof could be made that the provider takes, before a customer
// is asked.
func (c *Client) provable(ctx context.Context, md *Metadata) error {
	if c.dpop == nil {
		return nil
	}
	key, err := c.dpop.keys.Current(ctx)
	if err != nil {
		return c.keyFailure(ctx, "start", err)
	}
	if md.DPoPSigningAlgs != nil && !slices.Contains(md.DPoPSigningAlgs, key.alg) {
		return &Error{Op: "start", Code: CodeUnsupported, Err: fmt.Errorf("provider takes no DPoP proofs signed by %s", key.alg)}
	}
	return nil
}

func (c *Client) keyFailure(ctx context.Context, op string, err error) error {
	return unavailable(ctx, op, 0, fmt.Errorf("getting DPoP key: %w", err))
}

// postProved is postWith with a proof, where the client has keys for it, and returns
// the key. Where the provider demands a nonce, the request is made once more with
// that: the first one was refused before anything came of it (RFC 9449 section 8).
func (c *Client) postProved(ctx context.Context, op, target string, header http.Header, form url.Values, timeout time.Duration) (*answer, *DPoPKey, error) {
	if c.dpop == nil {
		a, err := c.postWith(ctx, op, target, header, form, timeout)
		return a, nil, err
	}
	key, err := c.dpop.keys.Current(ctx)
	if err != nil {
		return nil, nil, c.keyFailure(ctx, op, err)
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, nil, invalidArgument(op, "target is not a URL")
	}
	nonce := c.dpop.nonces.get(atProvider, u)
	for first := true; ; first = false {
		proof, err := c.dpop.prove(key, http.MethodPost, u, "", nonce)
		if err != nil {
			return nil, nil, invalidArgument(op, "making DPoP proof: %w", err)
		}
		proved := header.Clone()
		proved.Set("DPoP", proof)
		a, err := c.postWith(ctx, op, target, proved, maps.Clone(form), timeout)
		if err != nil {
			return nil, nil, err
		}
		fresh, given := nonceOf(a.header)
		if given {
			c.dpop.nonces.put(atProvider, u, fresh)
		}
		code, _ := a.oauthError()
		if !first || !given || a.status == http.StatusOK || code != codeUseDPoPNonce {
			return a, key, nil
		}
		// The nonce of this very answer: the one that is remembered may be used up
		// by another request already.
		nonce = fresh
	}
}

// constrain checks that the access token is of the type that was asked for with the
// key, if there was one, and notes the key.
func (c *Client) constrain(op string, t *Tokens, key *DPoPKey) error {
	bound := strings.EqualFold(t.TokenType, dpopType)
	switch {
	case bound && key != nil:
		err := checkBinding(t.AccessToken, key.thumbprint)
		if err != nil {
			return &Error{Op: op, Code: CodeInvalidToken, Err: err}
		}
		t.DPoPKey = key.thumbprint
		return nil
	case bound:
		return invalidResponse(op, 0, "token_type is DPoP, and no proof was sent")
	case key != nil && !c.bearerToo:
		return &Error{Op: op, Code: CodeUnsupported, Err: errors.New("provider does not bind access tokens to the DPoP key: token_type is Bearer")}
	}
	return nil
}
