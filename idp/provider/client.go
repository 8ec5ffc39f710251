package provider

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Client authentication methods (OpenID Connect Core 1.0 section 9).
const (
	AuthSecretBasic   = "client_secret_basic"
	AuthSecretPost    = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
)

// Token delivery modes (CIBA Core 1.0 section 5).
const (
	DeliveryPoll = "poll"
	DeliveryPing = "ping"

	// DeliveryPush sends the tokens to the client. They can not be bound to a key
	// of the client, and lie in the store until the client has taken them,
	// encrypted only if there are encryption keys.
	DeliveryPush = "push"
)

// GrantCIBA is the grant type of CIBA Core 1.0 section 10.1.
const GrantCIBA = "urn:openid:params:grant-type:ciba"

// SecretHash is the SHA-256 of a client secret. Client secrets are random and
// long, so a plain hash keeps them as safe as a slow one would, and costs nothing.
type SecretHash [sha256.Size]byte

// HashSecret returns the hash of a client secret.
func HashSecret(secret string) SecretHash {
	return sha256.Sum256([]byte(secret))
}

// Client is a registered client. All clients are confidential.
type Client struct {
	// ID is the client_id, of 1 to 255 printable ASCII characters. Required.
	ID string

	// Name is what the user sees. Default: ID.
	Name string

	// LogoURI, an https URL, and URI are shown to the user where the application does
	// so.
	LogoURI, URI string

	// Logo is a picture that stands beside the name, PNG or JPEG. LogoURI is where it
	// is instead; see Provider.Logo.
	Logo []byte

	// SessionApproval lets customers who have a passkey approve the client's requests
	// without signing each of them with it, if they have signed in recently enough.
	// This package only tells the application. Default: false.
	SessionApproval bool

	// AuthMethod is the one method by which the client authenticates.
	// Default: client_secret_basic.
	AuthMethod string

	// SecretHashes are the hashes of the secrets that are good now; two of
	// them while a secret is being changed.
	SecretHashes []SecretHash

	// JWKS is the client's JSON Web Key Set of public keys, for
	// private_key_jwt and signed requests. For self_signed_tls_client_auth
	// its keys have certificates (x5c).
	JWKS json.RawMessage

	// JWKSURI is where the client's JSON Web Key Set is, instead of JWKS: an
	// https URL outside of closed networks, see Config.NotificationNetworks. It
	// is fetched when it is needed, used for ten minutes, and fetched earlier,
	// once a minute at most, when a JWT or certificate comes whose key is not in
	// it. If it can not be fetched the keys at hand are good for an hour.
	JWKSURI string

	// AssertionSecrets are the secrets of a client of AuthSecretJWT, two of them
	// while a secret is being changed. Here the secret itself is needed and not
	// its hash, since the client never sends it: it is the key of a code that is
	// computed again to be compared. It stays in memory, as it came from the
	// configuration, and goes into no store. 32 bytes at least.
	AssertionSecrets []AssertionSecret

	// CertificateSubject names the certificate of a client of AuthTLS.
	CertificateSubject CertificateSubject

	// AuthSigningAlg, if set, is the only algorithm that client assertions may
	// be signed with. Default: ES256, PS256, EdDSA and RS256.
	AuthSigningAlg string

	// Scopes are the scopes that the client may ask for. openid is always
	// allowed.
	Scopes []string

	// DetailsTypes are the types of authorization_details that the client may
	// ask for. Default: all that are declared.
	DetailsTypes []string

	// GrantTypes are the grant types that the client may use. With GrantRefresh
	// it gets refresh tokens. Default: GrantCIBA.
	GrantTypes []string

	// DeliveryMode is how the client gets its tokens. Default: poll.
	DeliveryMode string

	// RequestLifetime and Interval are what Config.RequestLifetime and
	// Config.Interval are for all others, for this client. Default: those.
	RequestLifetime, Interval time.Duration

	// UserCode says that the client asks for user codes and sends them
	// (backchannel_user_code_parameter).
	UserCode bool

	// RequestSigningAlg, if set, is the only algorithm that authentication
	// requests may be signed with, and unsigned ones are refused.
	RequestSigningAlg string

	// RequireSignedRequests refuses authentication requests that are not
	// signed. They are verified with JWKS.
	RequireSignedRequests bool

	// LongPoll holds the polls of the client without being asked to.
	LongPoll bool

	// NotificationEndpoint is where pings and pushes go
	// (backchannel_client_notification_endpoint): an https URL outside of
	// closed networks, see Config.NotificationNetworks. Required for both.
	NotificationEndpoint string

	// IDTokenSigningAlg is the algorithm of ID Tokens for the client.
	// Default: the first of Config.SigningAlgs.
	IDTokenSigningAlg string

	// DPoPBound demands a DPoP proof of the client at the token endpoint (RFC
	// 9449 section 5.2). Clients may always send one, and get tokens that are
	// bound to its key.
	DPoPBound bool

	// CertificateBound demands a TLS client certificate of the client at the
	// token endpoint, and binds its tokens to it (RFC 8705 section 3.4).
	CertificateBound bool

	// Profile, if set, is ProfileFAPICIBA. Default: Config.Profile.
	Profile string

	// Resource says that the client is this resource server, and may introspect
	// access tokens that have it as an audience.
	Resource string

	// Disabled clients are refused everywhere, with what they have started.
	Disabled bool
}

// client is a Client that was checked and prepared for use.
type client struct {
	Client
	keys   []jose.JSONWebKey
	remote *remoteKeys // instead of keys

	// recognizes tells the certificate of a client of AuthTLS from others.
	recognizes func(*x509.Certificate) bool
}

// compileClients checks clients and returns them by id.
func compileClients(configured []Client, scopes map[string]Scope, types map[string]DetailsType) (map[string]*client, error) {
	clients := make(map[string]*client, len(configured))
	var errs []error
	for _, c := range configured {
		compiled, err := compileClient(c, scopes, types)
		if err != nil {
			errs = append(errs, fmt.Errorf("client %q: %w", c.ID, err))
			continue
		}
		if clients[c.ID] != nil {
			errs = append(errs, fmt.Errorf("client %q is given twice", c.ID))
		}
		clients[c.ID] = compiled
	}
	return clients, errors.Join(errs...)
}

func compileClient(c Client, scopes map[string]Scope, types map[string]DetailsType) (*client, error) {
	if !isSubject(c.ID) {
		return nil, errors.New("the id must be 1 to 255 printable ASCII characters")
	}
	if c.Name == "" {
		c.Name = c.ID
	}
	if c.AuthMethod == "" {
		c.AuthMethod = AuthSecretBasic
	}
	if c.DeliveryMode == "" {
		c.DeliveryMode = DeliveryPoll
	}
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []string{GrantCIBA}
	}
	err := c.checkDelivery()
	if err != nil {
		return nil, err
	}
	for _, grant := range c.GrantTypes {
		_, ok := grants[grant]
		if !ok {
			return nil, fmt.Errorf("unknown grant type %q", grant)
		}
	}
	algs := []string{c.IDTokenSigningAlg, c.RequestSigningAlg}
	if c.AuthMethod != AuthSecretJWT { // whose algorithms are others
		algs = append(algs, c.AuthSigningAlg)
	}
	for _, alg := range algs {
		if alg != "" && !isSigningAlg(alg) {
			return nil, fmt.Errorf("unknown signing algorithm %q", alg)
		}
	}
	for _, name := range c.Scopes {
		_, ok := scopes[name]
		if !ok {
			return nil, fmt.Errorf("unknown scope %q", name)
		}
	}
	for _, name := range c.DetailsTypes {
		_, ok := types[name]
		if !ok {
			return nil, fmt.Errorf("unknown authorization details type %q", name)
		}
	}
	compiled := &client{Client: c}
	err = compiled.compileCredentials()
	if err != nil {
		return nil, err
	}
	compiled.Scopes = slices.Clone(c.Scopes)
	compiled.DetailsTypes = slices.Clone(c.DetailsTypes)
	compiled.GrantTypes = slices.Clone(c.GrantTypes)
	compiled.SecretHashes = slices.Clone(c.SecretHashes)
	return compiled, nil
}

// checkDelivery checks that the client can be served in its delivery mode.
func (c *Client) checkDelivery() error {
	switch c.DeliveryMode {
	case DeliveryPoll:
		return nil
	case DeliveryPing, DeliveryPush:
	default:
		return fmt.Errorf("unknown delivery mode %q", c.DeliveryMode)
	}
	if c.NotificationEndpoint == "" {
		return errors.New("a notification endpoint is required for " + c.DeliveryMode)
	}
	if c.DeliveryMode == DeliveryPush && (c.DPoPBound || c.CertificateBound) {
		return errors.New("tokens that are pushed can not be bound to a key of the client")
	}
	return nil
}

// compileCredentials checks that the client has what its method needs.
func (c *client) compileCredentials() error {
	if len(c.JWKS) > 0 {
		keys, err := parsePublicKeys(c.JWKS)
		if err != nil {
			return fmt.Errorf("reading JWKS: %w", err)
		}
		c.keys = keys
	}
	if c.JWKSURI != "" {
		c.remote = newRemoteKeys(c.JWKSURI)
	}
	if len(c.JWKS) > 0 && c.JWKSURI != "" {
		return errors.New("there is a JWKS and a JWKS URI; one is enough")
	}
	if c.requireSigned() && !c.hasKeys() {
		return errors.New("a JWKS is required for signed requests")
	}
	switch c.AuthMethod {
	case AuthSecretBasic, AuthSecretPost:
		if len(c.SecretHashes) == 0 {
			return errors.New("a secret is required for " + c.AuthMethod)
		}
		if slices.Contains(c.SecretHashes, HashSecret("")) {
			return errors.New("the secret is empty")
		}
	case AuthPrivateKeyJWT:
		if !c.hasKeys() {
			return errors.New("a JWKS is required for " + c.AuthMethod)
		}
	case AuthSecretJWT:
		return c.compileAssertionSecrets()
	case AuthTLS:
		recognize, err := c.CertificateSubject.compile()
		if err != nil {
			return err
		}
		c.recognizes = recognize
	case AuthSelfSignedTLS:
		if c.remote == nil && !slices.ContainsFunc(c.keys, func(k jose.JSONWebKey) bool { return len(k.Certificates) > 0 }) {
			return errors.New("a JWKS with a certificate (x5c) is required for " + c.AuthMethod)
		}
	default:
		return fmt.Errorf("unknown authentication method %q", c.AuthMethod)
	}
	return nil
}

func (c *client) hasGrant(grant string) bool { return slices.Contains(c.GrantTypes, grant) }

// allows reports whether the client may ask for the scope.
func (c *client) allows(scope string) bool {
	return scope == scopeOpenID || slices.Contains(c.Scopes, scope)
}

// parsePublicKeys reads a JWKS of public keys that are fit for signatures.
func parsePublicKeys(data []byte) ([]jose.JSONWebKey, error) {
	err := checkJSON(data)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	err = json.NewDecoder(bytes.NewReader(data)).Decode(&set)
	if err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	ids := make(map[string]bool)
	for _, key := range set.Keys {
		if key.Use == "enc" {
			continue
		}
		if !key.Valid() || !key.IsPublic() {
			return nil, fmt.Errorf("key %q is not a valid public key", key.KeyID)
		}
		if ids[key.KeyID] {
			return nil, fmt.Errorf("key id %q is given twice", key.KeyID)
		}
		ids[key.KeyID] = true
		if len(keyAlgs(key)) == 0 && len(key.Certificates) == 0 {
			// A key that stands for a certificate signs nothing for us.
			return nil, fmt.Errorf("key %q fits none of the supported algorithms", key.KeyID)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
