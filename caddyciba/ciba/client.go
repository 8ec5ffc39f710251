package ciba

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Config says who the provider is and who we are to it.
type Config struct {
	// Issuer is the provider's issuer identifier, byte for byte as the provider
	// publishes it: a trailing slash counts. It is an https URL without query and
	// fragment; http is taken for loopback hosts only. Required.
	Issuer string

	// ClientID is the identifier under which the provider knows this client.
	// Required.
	ClientID string

	// Auth proves to the provider that we are that client. Required: CIBA has no
	// public clients.
	Auth Authenticator

	// HTTPClient makes the requests. Default: NewHTTPClient(nil). Whatever it was
	// set to do, it will follow no redirect and keep no cookies, and answers
	// above 1 MiB are refused.
	HTTPClient *http.Client

	// SigningAlgs are the algorithms that an ID Token may be signed with. Default:
	// ES256, PS256, EdDSA, RS256. The 384 and 512 bit variants can be listed as
	// well; "none" and the HMAC algorithms cannot. What the provider does not
	// publish in id_token_signing_alg_values_supported is refused too.
	SigningAlgs []string

	// Delivery is how the provider tells us of a decision, as this client is
	// registered there. Default: DeliveryPoll.
	Delivery Delivery

	// LongPoll asks the provider to hold each poll for up to this long, at most 30
	// s, and to answer as soon as the customer decides, by the header "Prefer:
	// wait=SECONDS" (RFC 7240 section 4.3). The first poll then comes at once. A
	// provider may hold polls without being asked, and need not hold them if it
	// is. Default: it is not asked.
	LongPoll time.Duration

	// RequestKey, if set, signs authentication requests (CIBA Core section 7.1.1).
	// The provider must publish that it takes them. RequestAlg is chosen as by
	// PrivateKeyJWT. Default: requests are not signed.
	RequestKey *jose.JSONWebKey
	RequestAlg string

	// CertificateBoundTokens says that access tokens are bound to the certificate
	// that HTTPClient presents (RFC 8705 section 3). Token requests then go to the
	// provider's mTLS alias of the endpoint, if it has one, whatever Auth is.
	CertificateBoundTokens bool

	// DPoP, if set, has access tokens bound to a key of the client's (RFC 9449): each
	// token request carries a proof. The provider must answer with tokens of type
	// DPoP, and an access token that is a JWT must name the key. Tokens that are
	// pushed cannot be bound. Default: tokens are not bound to a key.
	DPoP *DPoP

	// AllowBearer takes a token of type Bearer in spite of DPoP, from a provider that
	// has not bound it. Default: such a token is given back, and the request fails
	// with CodeUnsupported.
	AllowBearer bool

	// ClockSkew is how far the provider's clock may be off, at most 5 minutes.
	// Default: 10 s. Negative means none.
	ClockSkew time.Duration

	// Now tells the time. Default: time.Now. It must keep pace with real time,
	// because Wait sleeps on timers.
	Now func() time.Time

	// Rand is the source of token identifiers. Default: crypto/rand.Reader.
	Rand io.Reader
}

const (
	defaultClockSkew = 10 * time.Second
	maxClockSkew     = 5 * time.Minute

	metadataFresh  = 30 * time.Minute
	metadataUsable = 24 * time.Hour

	keysFresh  = 10 * time.Minute
	keysUsable = time.Hour
)

// Client speaks CIBA to one provider as one client. It is safe for concurrent
// use and holds no goroutine, timer or connection of its own besides the idle
// connections of the HTTP client.
type Client struct {
	issuer   string
	clientID string
	auth     Authenticator
	http     *http.Client
	algs     []string
	skew     time.Duration
	now      func() time.Time
	rand     io.Reader
	delivery Delivery
	longPoll time.Duration
	signer   *requestSigner
	mtls     mtlsUse
	dpop     *DPoP

	// bearerToo says that tokens need not be bound in spite of dpop.
	bearerToo bool

	metadata *cached[*Metadata]
	keys     *cached[*keySet]

	// settles says that the provider has told a poll to wait which its own
	// notification had caused. See settleDelay.
	settles atomic.Bool
}

// NewClient checks the configuration and returns a client. It does no network
// input or output: the provider is first asked when it is first needed.
func NewClient(cfg Config) (*Client, error) {
	_, err := parseIssuer(cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if cfg.ClientID == "" {
		return nil, errors.New("client id is missing")
	}
	if cfg.Auth == nil {
		return nil, errors.New("client authentication is missing")
	}
	algs, err := signingAlgs(cfg.SigningAlgs)
	if err != nil {
		return nil, err
	}
	delivery, err := cfg.Delivery.orDefault()
	if err != nil {
		return nil, err
	}
	signer, err := newRequestSigner(cfg.RequestKey, cfg.RequestAlg)
	if err != nil {
		return nil, err
	}
	mtls, err := mtlsUseOf(&cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{
		issuer:   cfg.Issuer,
		clientID: cfg.ClientID,
		auth:     cfg.Auth,
		algs:     algs,
		skew:     cfg.ClockSkew,
		now:      cfg.Now,
		rand:     cfg.Rand,
		delivery: delivery,
		longPoll: min(cfg.LongPoll, maxLongPoll),
		signer:   signer,
		mtls:     mtls,
		dpop:     cfg.DPoP,

		bearerToo: cfg.AllowBearer,
	}
	switch {
	case c.dpop != nil && delivery == DeliveryPush:
		return nil, errors.New("tokens that are pushed cannot be bound to a key")
	case c.skew == 0:
		c.skew = defaultClockSkew
	case c.skew < 0:
		c.skew = 0
	case c.skew > maxClockSkew:
		return nil, fmt.Errorf("clock skew is above %s", maxClockSkew)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.rand == nil {
		c.rand = rand.Reader
	}
	if cfg.HTTPClient == nil {
		c.http = NewHTTPClient(nil)
	} else {
		c.http = hardened(cfg.HTTPClient)
	}
	c.metadata = &cached[*Metadata]{fetch: c.fetchMetadata, now: c.now, fresh: metadataFresh, usable: metadataUsable}
	c.keys = &cached[*keySet]{fetch: c.fetchKeys, now: c.now, fresh: keysFresh, usable: keysUsable}
	return c, nil
}

// Issuer returns the issuer identifier that the client was made with.
func (c *Client) Issuer() string {
	return c.issuer
}

// ClientID returns the client identifier that the client was made with.
func (c *Client) ClientID() string {
	return c.clientID
}

// ready makes sure that an answer of the provider could be understood and
// verified, before a customer is asked or an approval is redeemed.
func (c *Client) ready(ctx context.Context, op string) (*Metadata, error) {
	md, err := c.metadata.get(ctx)
	if err != nil {
		return nil, fetchFailure(ctx, op, err)
	}
	if !slices.ContainsFunc(c.algs, md.signsWith) {
		return nil, &Error{Op: op, Code: CodeUnsupported, Err: errors.New("provider signs ID Tokens by no algorithm that is allowed")}
	}
	_, err = c.keys.get(ctx)
	if err != nil {
		return nil, fetchFailure(ctx, op, err)
	}
	return md, nil
}

// IsSigningAlg reports whether a signature algorithm can be allowed for ID Tokens,
// and used for signed requests.
func IsSigningAlg(alg string) bool {
	_, known := algFamilies[alg]
	return known
}

// signingAlgs returns the allow-list for ID Tokens.
func signingAlgs(configured []string) ([]string, error) {
	if len(configured) == 0 {
		return []string{"ES256", "PS256", "EdDSA", "RS256"}, nil
	}
	for _, alg := range configured {
		if !IsSigningAlg(alg) {
			return nil, fmt.Errorf("signing algorithm %q is not supported", alg)
		}
	}
	return slices.Clone(configured), nil
}
