package idp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// What the options of a client can be.
var (
	authMethods = []string{
		provider.AuthSecretBasic, provider.AuthSecretPost, provider.AuthSecretJWT, provider.AuthPrivateKeyJWT,
		provider.AuthTLS, provider.AuthSelfSignedTLS,
	}
	authSigningAlgs   = append([]string{"HS256", "HS384", "HS512"}, signingAlgs...)
	deliveryModes     = []string{provider.DeliveryPoll, provider.DeliveryPing, provider.DeliveryPush}
	signingAlgs       = []string{"ES256", "PS256", "EdDSA", "RS256"}
	senderConstraints = []string{constraintDPoP, constraintMTLS}
	profiles          = []string{provider.ProfileFAPICIBA}
)

// What tokens can be bound to.
const (
	constraintDPoP = "dpop"
	constraintMTLS = "mtls"
)

// Client is an application that may ask customers for approval, for example a
// gateway. Every client authenticates: there are no public clients in CIBA.
type Client struct {
	// The client_id. Required.
	ID string `json:"id,omitempty"`

	// What the approval page calls the client. Default: the id.
	Name string `json:"name,omitempty"`

	// The client's home page, an https URL. Default: none.
	URI string `json:"uri,omitempty"`

	// The client's logo on the approval page: a PNG or JPEG at an https URL, which
	// must be outside of private networks, unless notification_networks opens
	// them. It is fetched when somebody sees the page, once a day, and shown
	// from the provider's own address. Default: none.
	LogoURI string `json:"logo_uri,omitempty"`

	// The client's logo in a file, PNG or JPEG, instead of logo_uri. It is read
	// when the config is loaded. Placeholders are resolved. Default: none.
	LogoFile string `json:"logo_file,omitempty"`

	// The client's secrets, each of them valid: during a change there are
	// two. A secret is a placeholder for the secret itself, such as
	// `{env.CLIENT_SECRET}` or `{file./run/secrets/client}`, or its SHA-256 in
	// hexadecimal behind `sha256:`. Secrets must be random, of at least 128
	// bits, because a plain SHA-256 does not protect a guessable one. A secret
	// that is written out works, and draws a warning at each start. For
	// client_secret_jwt the secret itself is needed, of at least 32 bytes.
	Secrets []string `json:"secrets,omitempty"`

	// How the client authenticates: client_secret_basic, client_secret_post,
	// client_secret_jwt, private_key_jwt, tls_client_auth or
	// self_signed_tls_client_auth. Default:
	// client_secret_basic if the client has secrets, tls_client_auth if it has
	// a certificate, else private_key_jwt.
	AuthMethod string `json:"auth_method,omitempty"`

	// The only algorithm that the client signs its assertions with: ES256,
	// PS256, EdDSA or RS256, and for client_secret_jwt HS256, HS384 or HS512.
	// Default: any of them.
	AuthSigningAlg string `json:"auth_signing_alg,omitempty"`

	// Which certificate is the client's, for tls_client_auth. Default: none.
	Certificate *Certificate `json:"certificate,omitempty"`

	// The client's public keys as a JSON Web Key Set, for private_key_jwt and
	// signed requests. For self_signed_tls_client_auth they have certificates
	// (x5c). Default: none.
	JWKS json.RawMessage `json:"jwks,omitempty"`

	// A file with the client's public keys as a JSON Web Key Set, instead of
	// jwks; for self_signed_tls_client_auth it may have certificates in PEM. It
	// is read when the config is loaded. Placeholders are resolved. Default:
	// none.
	JWKSFile string `json:"jwks_file,omitempty"`

	// Where the client's public keys are as a JSON Web Key Set, instead of jwks:
	// an https URL outside of private networks, unless notification_networks
	// opens them. It is fetched when it is needed, and again after ten minutes or
	// when an unknown key is used. Default: none.
	JWKSURI string `json:"jwks_uri,omitempty"`

	// The scopes that the client may ask for. They must be configured, or be
	// openid. Default: openid alone.
	Scopes []string `json:"scopes,omitempty"`

	// How long a request of the client waits for its customer when the client does
	// not ask for another time. Default: request_lifetime of the provider.
	RequestLifetime caddy.Duration `json:"request_lifetime,omitempty"`

	// How long the client has to wait between two polls, in whole seconds from 1s
	// to 1m. Default: interval of the provider.
	Interval caddy.Duration `json:"interval,omitempty"`

	// The types of authorization details that the client may ask for. They
	// must be configured, or be http_request. Default: all of them.
	Details []string `json:"details,omitempty"`

	// Whether the client gets refresh tokens. Default: false.
	Refresh bool `json:"refresh,omitempty"`

	// How the client gets its tokens once the customer has decided: poll (it
	// asks for them), ping (it is told when to ask) or push (they are sent to
	// it; they cannot be bound to a key then). Default: poll.
	Delivery string `json:"delivery,omitempty"`

	// Where pings and pushes go: an https URL. It must be outside of private
	// networks, unless notification_networks opens them. Required for both.
	NotificationEndpoint string `json:"notification_endpoint,omitempty"`

	// Whether the client's polls are held until the customer decides, without
	// the client asking for it by the header Prefer. Default: false.
	LongPoll bool `json:"long_poll,omitempty"`

	// Whether the client asks customers for their user codes and sends them.
	// Requests for customers who have one are refused without it. Default:
	// false.
	UserCode bool `json:"user_code,omitempty"`

	// Whether customers who have a passkey may approve the client's requests without
	// signing each of them with it, if they have signed in recently enough (see
	// proof_age). Default: false.
	SessionApproval bool `json:"session_approval,omitempty"`

	// Whether requests that are not signed are refused. Default: false; it is
	// true if request_signing_alg is given.
	RequireSignedRequests bool `json:"require_signed_requests,omitempty"`

	// The only algorithm that the client signs its requests with: ES256, PS256,
	// EdDSA or RS256. Default: any of them.
	RequestSigningAlg string `json:"request_signing_alg,omitempty"`

	// The algorithm of ID Tokens for the client: ES256, PS256, EdDSA or RS256.
	// Default: the first of signing_algs.
	IDTokenSigningAlg string `json:"id_token_signing_alg,omitempty"`

	// What the client's tokens are bound to, so that nobody else can use them:
	// "dpop" demands a DPoP proof (RFC 9449), "mtls" a TLS client certificate
	// (RFC 8705). Default: nothing is demanded; a client that sends a DPoP
	// proof gets tokens that are bound to its key.
	SenderConstraints []string `json:"sender_constraints,omitempty"`

	// The profile that the client must follow: fapi_ciba. Default: that of the
	// provider.
	Profile string `json:"profile,omitempty"`

	// Says that the client is this API, one of those that scopes have as their
	// audience: it may introspect access tokens that are for it. Default: none.
	Resource string `json:"resource,omitempty"`

	// Whether the client is locked out: it can start nothing, and what it has
	// started cannot be approved or redeemed. Default: false.
	Disabled bool `json:"disabled,omitempty"`
}

// check finds what is wrong with the client by itself, without resolving
// placeholders or reading files.
func (c *Client) check() error {
	if c.ID == "" {
		return errors.New("client has no id")
	}
	for _, check := range []func() error{c.checkChoices, c.checkCredentials, c.checkDelivery, c.checkTimes, c.checkLists} {
		err := check()
		if err != nil {
			return fmt.Errorf("client '%s': %w", c.ID, err)
		}
	}
	return nil
}

// checkChoices refuses values that do not exist.
func (c *Client) checkChoices() error {
	for _, choice := range []struct {
		option string
		values []string
		known  []string
	}{
		{"auth_method", []string{c.authMethod()}, authMethods},
		{"auth_signing_alg", []string{c.AuthSigningAlg}, authSigningAlgs},
		{"delivery", []string{c.Delivery}, deliveryModes},
		{"request_signing_alg", []string{c.RequestSigningAlg}, signingAlgs},
		{"id_token_signing_alg", []string{c.IDTokenSigningAlg}, signingAlgs},
		{"sender_constraint", c.SenderConstraints, senderConstraints},
		{"profile", []string{c.Profile}, profiles},
	} {
		for _, value := range choice.values {
			err := checkChoice(choice.option, value, choice.known)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// checkCredentials refuses a client that cannot authenticate, and credentials that
// nothing is done with.
func (c *Client) checkCredentials() error {
	method := c.authMethod()
	keySets := 0
	for _, given := range []bool{len(c.JWKS) > 0, c.JWKSFile != "", c.JWKSURI != ""} {
		if given {
			keySets++
		}
	}
	has := map[string]bool{
		"secret":      len(c.Secrets) > 0,
		"jwks":        keySets > 0,
		"certificate": c.Certificate != nil,
	}
	needs := map[string]string{
		provider.AuthSecretBasic:   "secret",
		provider.AuthSecretPost:    "secret",
		provider.AuthSecretJWT:     "secret",
		provider.AuthPrivateKeyJWT: "jwks",
		provider.AuthTLS:           "certificate",
		provider.AuthSelfSignedTLS: "jwks",
	}[method]
	switch {
	case keySets > 1:
		return errors.New("only one of jwks, jwks_file and jwks_uri can be given")
	case !has["secret"] && !has["jwks"] && !has["certificate"]:
		return errors.New("it has neither a secret nor a jwks nor a certificate; a client must be able to authenticate")
	case c.AuthMethod == "" && has["secret"] && has["jwks"] && !c.signsRequests():
		return errors.New("it has a secret and a jwks; remove one of them, or say by auth_method which of them it authenticates with")
	case !has[needs]:
		return fmt.Errorf("%s requires a %s", method, needs)
	case c.signsRequests() && !has["jwks"]:
		return errors.New("signed requests require a jwks")
	}
	for _, other := range []string{"secret", "certificate"} {
		if other != needs && has[other] {
			return fmt.Errorf("%s does not use the %s; remove it", method, other)
		}
	}
	for _, secret := range c.Secrets {
		err := checkSecret(secret)
		if err != nil {
			return err
		}
	}
	if c.Certificate != nil {
		return c.Certificate.check()
	}
	return nil
}

// checkTimes refuses times outside of their bounds.
func (c *Client) checkTimes() error {
	lifetime, interval := time.Duration(c.RequestLifetime), time.Duration(c.Interval)
	if lifetime != 0 && (lifetime < time.Second || lifetime > maxRequestLifetime) {
		return fmt.Errorf("request_lifetime is %s, but must be from 1s to %s", lifetime, time.Duration(maxRequestLifetime))
	}
	if interval != 0 && (interval < time.Second || interval > maxInterval || interval%time.Second != 0) {
		return fmt.Errorf("interval is %s, but must be whole seconds from 1s to %s", interval, time.Duration(maxInterval))
	}
	return nil
}

// checkDelivery refuses a delivery without an address, and the other way round.
func (c *Client) checkDelivery() error {
	polls := c.Delivery == "" || c.Delivery == provider.DeliveryPoll
	switch {
	case polls && c.NotificationEndpoint != "":
		return errors.New("a client that polls has no notification_endpoint; set delivery")
	case !polls && c.NotificationEndpoint == "":
		return fmt.Errorf("delivery %s requires a notification_endpoint", c.Delivery)
	}
	if c.Delivery == provider.DeliveryPush && len(c.SenderConstraints) > 0 {
		return errors.New("tokens that are pushed cannot be bound to a key; remove sender_constraint")
	}
	return checkLink(c.NotificationEndpoint)
}

// checkLists refuses links that are none and entries that are there twice.
func (c *Client) checkLists() error {
	if c.LogoURI != "" && c.LogoFile != "" {
		return errors.New("only one of logo and logo_uri can be given")
	}
	for _, link := range []string{c.URI, c.LogoURI, c.JWKSURI} {
		err := checkLink(link)
		if err != nil {
			return err
		}
	}
	for _, list := range []struct {
		what    string
		entries []string
	}{{"scope", c.Scopes}, {"details", c.Details}, {"sender_constraint", c.SenderConstraints}} {
		for i, entry := range list.entries {
			if slices.Contains(list.entries[:i], entry) {
				return fmt.Errorf("%s '%s' is named twice", list.what, entry)
			}
		}
	}
	return nil
}

// authMethod is the configured method or its default.
func (c *Client) authMethod() string {
	switch {
	case c.AuthMethod != "":
		return c.AuthMethod
	case len(c.Secrets) > 0:
		return provider.AuthSecretBasic
	case c.Certificate != nil:
		return provider.AuthTLS
	default:
		return provider.AuthPrivateKeyJWT
	}
}

// signsRequests reports whether the client's requests must be signed by its own
// setting.
func (c *Client) signsRequests() bool {
	return c.RequireSignedRequests || c.RequestSigningAlg != ""
}

// checkChoice takes known values, and none.
func checkChoice(option, value string, known []string) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("%s '%s' is not one of %s", option, value, strings.Join(known, ", "))
}

// checkLink takes absolute https URLs, and none.
func checkLink(link string) error {
	if link == "" {
		return nil
	}
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("'%s' must be an https URL", link)
	}
	return nil
}
