package ciba

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Revoke withdraws a token at the provider (RFC 7009). hint is
// "access_token", "refresh_token" or "". The error has CodeUnsupported if the
// provider has no revocation endpoint. A provider answers with success for a
// token that it does not know, so success says only that the token is not good
// any more.
func (c *Client) Revoke(ctx context.Context, token, hint string) error {
	return c.withdraw(ctx, "revoke", token, hint)
}

// Cancel withdraws a pending request, so that the customer is not asked any
// more. CIBA has no such request; this one uses the revocation endpoint with the
// auth_req_id as token and "auth_req_id" as token_type_hint, which the provider
// of this project takes. To any other it is an unknown token, which does no
// harm. Cancel is a courtesy: the request counts as over on our side whatever it
// returns.
func (c *Client) Cancel(ctx context.Context, p *Pending) error {
	return c.withdraw(ctx, "cancel", p.AuthReqID, "auth_req_id")
}

// discardTimeout bounds the time for giving back what cannot be used.
const discardTimeout = 3 * time.Second

// discard gives tokens back that do not satisfy the check, so that nobody can use
// them. The refresh token goes first, as it is good for more. It is a courtesy:
// the tokens are not used here whatever comes of it.
func (c *Client) discard(ctx context.Context, t *Tokens) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTimeout)
	defer cancel()
	if t.RefreshToken != "" {
		_ = c.Revoke(ctx, t.RefreshToken, "refresh_token")
	}
	_ = c.Revoke(ctx, t.AccessToken, "access_token")
}

func (c *Client) withdraw(ctx context.Context, op, token, hint string) error {
	if token == "" {
		return invalidArgument(op, "token is empty")
	}
	md, err := c.metadata.get(ctx)
	if err != nil {
		return fetchFailure(ctx, op, err)
	}
	if md.RevocationEndpoint == "" {
		return &Error{Op: op, Code: CodeUnsupported}
	}
	form := url.Values{"token": {token}}
	if hint != "" {
		form.Set("token_type_hint", hint)
	}
	a, err := c.post(ctx, op, c.mtls.revocation(md), form, revokeTimeout)
	if err != nil {
		return err
	}
	// The body of a success means nothing (RFC 7009 section 2.2).
	if a.status != http.StatusOK && a.status != http.StatusNoContent {
		return a.failure()
	}
	return nil
}
