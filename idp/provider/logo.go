package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxLogo bounds a logo, in bytes.
const maxLogo = 256 << 10

// Logo returns the logo of a client, as it is registered: Client.Logo, or what is at
// Client.LogoURI. That is fetched with each call, by the same way and with the same
// care as clients are called: from public addresses and those of
// Config.NotificationNetworks, without redirects, within five seconds and 256 KiB. The
// bytes are the client's and were not looked at. Logo returns ErrNotFound if the client
// is unknown or has no logo.
func (p *Provider) Logo(ctx context.Context, clientID string) ([]byte, error) {
	c := p.clients[clientID]
	switch {
	case c == nil || !c.hasLogo():
		return nil, ErrNotFound
	case len(c.Logo) > 0:
		return c.Logo, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callbackTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.LogoURI, nil)
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	r.Header.Set("Accept", "image/png, image/jpeg")
	response, err := p.callbacks.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetching logo: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching logo: the answer has the status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxLogo+1))
	if err != nil {
		return nil, fmt.Errorf("reading logo: %w", err)
	}
	if len(body) > maxLogo {
		return nil, errors.New("the logo is too large")
	}
	return body, nil
}

func (c *client) hasLogo() bool { return len(c.Logo) > 0 || c.LogoURI != "" }
