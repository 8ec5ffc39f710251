package ciba

import (
	"context"
	"net/http"
)

// Discover returns the provider's metadata. It is fetched when it is first
// needed and anew once it is 30 minutes old; where that fails, the old one goes
// on for up to a day. After a failure with nothing to fall back on, further
// calls fail at once for a moment (1 s, doubling to 30 s), with the rest of it
// in Error.RetryAfter.
//
// Concurrent calls share one fetch. Each returns as soon as its context ends.
func (c *Client) Discover(ctx context.Context) (*Metadata, error) {
	md, err := c.metadata.get(ctx)
	if err != nil {
		return nil, fetchFailure(ctx, "discover", err)
	}
	return md, nil
}

func (c *Client) fetchMetadata(ctx context.Context) (*Metadata, error) {
	a, err := c.get(ctx, "discover", wellKnown(c.issuer))
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, a.documentFailure()
	}
	md, err := parseMetadata(c.issuer, a.body)
	if err != nil {
		return nil, a.broken("%w", err)
	}
	return md, nil
}

// documentFailure is the error for a document that was not delivered. Unlike the
// endpoints, these addresses have no error codes of their own, and a 404 comes
// and goes with deployments.
func (a *answer) documentFailure() *Error {
	e := a.failure()
	e.Description = ""
	if e.Code != CodeUnavailable {
		e.Code = CodeInvalidResponse
	}
	return e
}
