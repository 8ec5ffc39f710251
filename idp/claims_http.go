package idp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

func init() {
	caddy.RegisterModule(new(HTTPClaims))
}

// Bounds of one call of a service for claims.
const (
	defaultClaimsTimeout = 2 * time.Second
	maxClaimsTimeout     = 10 * time.Second
	maxClaimsAnswer      = 64 << 10
)

// HTTPClaims asks an HTTP service for claims of customers at the moment in which they
// are needed: their account numbers, their limits, what they may do.
//
// It posts a JSON document with the members subject, username, client, scopes,
// claims (the names that are wanted) and use ("userinfo" or "access_token"). The answer
// has status 200, the type application/json, and a JSON object of claims; those that
// were not wanted are left out. Status 404 says that there are none. Whatever else
// comes, or comes too late, makes the request for tokens fail as temporarily
// unavailable, with nothing used up. Redirects are not followed.
type HTTPClaims struct {
	// The URL to post to. It is https, or plain http for a loopback host.
	// Placeholders are resolved when the config is loaded. Required.
	URL string `json:"url,omitempty"`

	// A placeholder, `{env.…}` or `{file.…}`, for the token by which the service
	// knows us, in the header Authorization after the word Bearer. Default: none.
	Token string `json:"token,omitempty"`

	// How long the service may take. Default: 2s. At most 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// The networks besides the public Internet that the URL may lead to, such as
	// "10.1.0.0/16". Addresses are checked when a connection is made. Default:
	// none.
	Networks []string `json:"networks,omitempty"`

	// The certificate authorities that the server is verified with: files in
	// PEM, read when the config is loaded. Placeholders are resolved. Default:
	// those of the system.
	CAFiles []string `json:"ca_files,omitempty"`

	target string
	token  string
	poster poster
}

// CaddyModule returns the Caddy module information.
func (*HTTPClaims) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  claimNamespace + ".http",
		New: func() caddy.Module { return new(HTTPClaims) },
	}
}

// Provision resolves the URL and the token. It connects to nothing.
func (c *HTTPClaims) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	err := c.check()
	if err != nil {
		return err
	}
	c.target, err = resolveURL(repl, "claims", c.URL)
	if err != nil {
		return err
	}
	c.token, err = resolveToken(repl, "claims token", c.Token)
	if err != nil {
		return err
	}
	c.poster, err = newPoster(repl, "claims", c.Networks, c.CAFiles)
	return err
}

// Cleanup closes the connections that are not in use.
func (c *HTTPClaims) Cleanup() error {
	c.poster.close()
	return nil
}

// check finds mistakes that can be found without resolving placeholders.
func (c *HTTPClaims) check() error {
	err := checkConfiguredURL("claims", c.URL)
	if err != nil {
		return err
	}
	err = checkToken("claims token", c.Token)
	if err != nil {
		return err
	}
	if c.Timeout < 0 || time.Duration(c.Timeout) > maxClaimsTimeout {
		return fmt.Errorf("claims timeout is %s, but must be up to %s", time.Duration(c.Timeout), maxClaimsTimeout)
	}
	_, err = parseNetworks("claims networks", c.Networks)
	return err
}

// claimsQuestion is what the service is asked.
type claimsQuestion struct {
	Subject  string   `json:"subject"`
	Username string   `json:"username"`
	Client   string   `json:"client"`
	Scopes   []string `json:"scopes"`
	Claims   []string `json:"claims"`
	Use      string   `json:"use"`
}

// Claims implements provider.ClaimsSource.
func (c *HTTPClaims) Claims(ctx context.Context, r *provider.ClaimsRequest) (map[string]any, error) {
	body, err := json.Marshal(claimsQuestion{
		Subject: r.User.ID, Username: r.User.Username, Client: r.Client.ID, Scopes: r.Scopes, Claims: r.Names, Use: r.Use,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding question for claims: %w", err)
	}
	timeout := time.Duration(c.Timeout)
	if timeout == 0 {
		timeout = defaultClaimsTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("making request for claims")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.poster.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for claims: %w", withoutURL(err))
	}
	defer response.Body.Close()
	return readClaims(response)
}

// readClaims reads the answer of the service.
func readClaims(response *http.Response) (map[string]any, error) {
	data, err := io.ReadAll(io.LimitReader(response.Body, maxClaimsAnswer+1))
	mediaType, _, typeErr := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading claims: %w", err)
	case response.StatusCode == http.StatusNotFound:
		return nil, nil
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the service for claims has answered with %d", response.StatusCode)
	case typeErr != nil || mediaType != "application/json":
		return nil, errors.New("the service for claims has not answered in JSON")
	case len(data) > maxClaimsAnswer:
		return nil, errors.New("the answer of the service for claims is too long")
	}
	var claims map[string]any
	err = decodeNumbers(data, &claims)
	if err != nil {
		return nil, fmt.Errorf("decoding claims: %w", err)
	}
	return claims, nil
}

// Interface guards
var (
	_ caddy.Provisioner  = (*HTTPClaims)(nil)
	_ caddy.CleanerUpper = (*HTTPClaims)(nil)
	_ ClaimsSource       = (*HTTPClaims)(nil)
)
