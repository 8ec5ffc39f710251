package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// DefaultMaxAge is how old a sign-in at the other provider may be.
	DefaultMaxAge = 12 * time.Hour

	// metadataLifetime is how long the other provider's metadata are used before
	// they are read again.
	metadataLifetime = time.Hour

	// metadataRetry is how long a provider that failed to give its metadata is
	// left alone.
	metadataRetry = 2 * time.Second
)

// algorithms are those that ID Tokens may be signed with. A shared secret proves
// nothing about who has signed.
var algorithms = []string{"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA", "RS256", "RS384", "RS512"}

// Config is what an [Issuer] is made of.
type Config struct {
	// Name names the provider in addresses and in the store: 1 to 32 lower-case
	// letters, digits and hyphens. Required.
	Name string

	// Issuer is the other provider's issuer identifier, exactly as in its
	// metadata. It is https; plain http is taken for loopback hosts only.
	// Required.
	Issuer string

	// ClientID and ClientSecret are ours over there. Required.
	ClientID, ClientSecret string

	// RedirectURL is where it sends browsers back to. Required.
	RedirectURL string

	// Scopes are asked for besides openid. Default: none.
	Scopes []string

	// ACRValues are the authentication context classes of which the sign-in must
	// reach one. Default: any will do.
	ACRValues []string

	// MaxAge is how old a sign-in over there may be. Default: 12h.
	MaxAge time.Duration

	// Client makes the requests to the other provider. Default: what NewClient(nil)
	// returns.
	Client *http.Client

	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Issuer is another OpenID Provider. It is safe for concurrent use.
type Issuer struct {
	cfg Config

	mu     sync.Mutex
	remote *remote   // nil until it was reached
	failed time.Time // when it last could not be reached
}

// remote is what the other provider says about itself.
type remote struct {
	provider   *oidc.Provider
	read       time.Time
	verifier   *oidc.IDTokenVerifier // has the keys, once they were needed
	style      oauth2.AuthStyle
	tellsIssue bool // its answers name the issuer (RFC 9207)
}

// New returns an issuer. It connects to nothing; every mistake that it finds is in
// the error.
func New(cfg Config) (*Issuer, error) {
	err := cfg.Check()
	if err != nil {
		return nil, err
	}
	if cfg.ClientSecret == "" || cfg.RedirectURL == "" {
		return nil, errors.New("a client secret and a redirect URL are required")
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.Client == nil {
		cfg.Client = NewClient(nil)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Issuer{cfg: cfg}, nil
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Check reports what is wrong with a config. The secret and the redirect URL are not
// looked at.
func (c Config) Check() error {
	switch {
	case !namePattern.MatchString(c.Name):
		return fmt.Errorf("the name '%s' must be 1 to 32 lower-case letters, digits and hyphens", c.Name)
	case c.Issuer == "":
		return errors.New("an issuer is required")
	case c.ClientID == "":
		return errors.New("a client_id is required")
	case c.MaxAge < 0:
		return errors.New("the age of a sign-in must not be negative")
	}
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return fmt.Errorf("issuer '%s' must be a plain https URL", c.Issuer)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return fmt.Errorf("issuer '%s' must be https; plain http is taken for loopback hosts only", c.Issuer)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Name is Config.Name.
func (i *Issuer) Name() string { return i.cfg.Name }

// ctx lends the HTTP client to the libraries.
func (i *Issuer) ctx(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, i.cfg.Client)
}

// discover returns what the other provider says about itself, from memory for a while.
// One that can't be reached now is taken as it was before.
func (i *Issuer) discover(ctx context.Context) (*remote, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.cfg.Now()
	switch {
	case i.remote != nil && now.Sub(i.remote.read) < metadataLifetime:
		return i.remote, nil
	case i.remote == nil && now.Sub(i.failed) < metadataRetry:
		return nil, unavailable(errors.New("it could not be reached a moment ago"))
	}
	found, err := i.read(ctx)
	if err == nil {
		i.remote = found
		return found, nil
	}
	if i.remote != nil {
		i.remote.read = now // and look again in a while
		return i.remote, nil
	}
	if ctx.Err() == nil {
		i.failed = now
	}
	return nil, unavailable(err)
}

// read reads the other provider's metadata.
func (i *Issuer) read(ctx context.Context) (*remote, error) {
	provider, err := oidc.NewProvider(i.ctx(ctx), i.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("reading metadata: %w", brief(err))
	}
	var metadata struct {
		Authorization string   `json:"authorization_endpoint"`
		Token         string   `json:"token_endpoint"`
		UserInfo      string   `json:"userinfo_endpoint"`
		Keys          string   `json:"jwks_uri"`
		Algs          []string `json:"id_token_signing_alg_values_supported"`
		Auth          []string `json:"token_endpoint_auth_methods_supported"`
		TellsIssuer   bool     `json:"authorization_response_iss_parameter_supported"`
	}
	err = provider.Claims(&metadata)
	if err != nil {
		return nil, fmt.Errorf("decoding metadata: %w", err)
	}
	endpoints := []string{metadata.Authorization, metadata.Token, metadata.Keys}
	if metadata.UserInfo != "" {
		endpoints = append(endpoints, metadata.UserInfo)
	}
	for _, endpoint := range endpoints {
		err = i.checkEndpoint(endpoint)
		if err != nil {
			return nil, err
		}
	}
	r := &remote{provider: provider, read: i.cfg.Now(), tellsIssue: metadata.TellsIssuer, style: oauth2.AuthStyleInHeader}
	if len(metadata.Auth) > 0 && !slices.Contains(metadata.Auth, "client_secret_basic") {
		if !slices.Contains(metadata.Auth, "client_secret_post") {
			return nil, errors.New("it takes no client secret")
		}
		r.style = oauth2.AuthStyleInParams
	}
	algs := slices.DeleteFunc(metadata.Algs, func(alg string) bool { return !slices.Contains(algorithms, alg) })
	if len(algs) == 0 {
		return nil, errors.New("it signs ID Tokens with no algorithm that is taken here")
	}
	// Keys are fetched long after this request has ended.
	r.verifier = provider.VerifierContext(i.ctx(context.WithoutCancel(ctx)), &oidc.Config{
		ClientID: i.cfg.ClientID, SupportedSigningAlgs: algs, Now: i.cfg.Now,
	})
	return r, nil
}

// checkEndpoint refuses an endpoint at which secrets would travel in the clear.
func (i *Issuer) checkEndpoint(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("an endpoint is missing in its metadata, or malformed")
	}
	if u.Scheme != "https" && !(strings.HasPrefix(i.cfg.Issuer, "http:") && u.Scheme == "http" && isLoopback(u.Hostname())) {
		return errors.New("an endpoint in its metadata is not https")
	}
	return nil
}

// oauth is the client for the library that exchanges codes.
func (i *Issuer) oauth(r *remote) *oauth2.Config {
	endpoint := r.provider.Endpoint()
	endpoint.AuthStyle = r.style
	return &oauth2.Config{
		ClientID: i.cfg.ClientID, ClientSecret: i.cfg.ClientSecret, Endpoint: endpoint, RedirectURL: i.cfg.RedirectURL,
		Scopes: append([]string{oidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(i.cfg.Scopes), func(s string) bool { return s == oidc.ScopeOpenID })...),
	}
}
