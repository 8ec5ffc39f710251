package caddyciba

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// defaultLongPoll is how long a provider is asked to hold the answer to a poll.
// One that does brings an approval to the upstream at once; others answer as they
// always did. It stays below the 30 s that some proxies allow.
const defaultLongPoll = 25 * time.Second

// clientSettings are a provider's settings with secrets resolved. They are
// never printed.
type clientSettings struct {
	issuer, clientID string

	// method is how the client authenticates; secret and key are what it needs.
	method      string
	secret, key string

	// certFile and certKeyFile are the client's certificate. bound says that access
	// tokens are bound to it.
	certFile, certKeyFile string
	bound                 bool

	// dpop says that access tokens are bound to a key: dpopKey, or one in the store
	// if that is empty. bearerToo takes tokens that are not.
	dpop, bearerToo bool
	dpopKey         string

	// requestAlg signs authentication requests, with requestKey.
	requestAlg, requestKey string

	pool     *x509.CertPool
	poolHash string

	delivery  ciba.Delivery
	longPoll  time.Duration
	clockSkew time.Duration
	algs      []string

	parameters url.Values
}

// settings resolves a provider's placeholders, and warns about a secret that
// stands in the configuration itself.
func (a *App) settings(p Provider) (*clientSettings, error) {
	err := p.check()
	if err != nil {
		return nil, err
	}
	s := &clientSettings{
		issuer:     p.Issuer,
		method:     p.method(),
		bound:      p.SenderConstraint == constraintMTLS,
		dpop:       p.SenderConstraint == constraintDPoP,
		bearerToo:  p.AllowBearer,
		requestAlg: p.SignedRequests,
		pool:       p.pool,
		poolHash:   p.poolHash,
		delivery:   cmp.Or(ciba.Delivery(p.Delivery), ciba.DeliveryPoll),
		longPoll:   max(0, time.Duration(p.LongPoll)),
		clockSkew:  time.Duration(p.ClockSkew),
		algs:       p.IDTokenAlgs,
		parameters: url.Values{},
	}
	for _, plain := range []struct {
		name, value string
		field       *string
	}{
		{"client_id", p.ClientID, &s.clientID},
		{"client_cert", p.ClientCert, &s.certFile},
		{"client_cert", p.ClientCertKey, &s.certKeyFile},
	} {
		if plain.value == "" {
			continue
		}
		*plain.field, err = resolve(plain.name, plain.value)
		if err != nil {
			return nil, err
		}
	}
	for name, value := range p.Parameters {
		value, err = resolve("parameter "+name, value)
		if err != nil {
			return nil, err
		}
		s.parameters.Set(name, value)
	}
	return s, a.resolveSecrets(s, p)
}

// resolveSecrets fills in what must not be shown.
func (a *App) resolveSecrets(s *clientSettings, p Provider) error {
	var err error
	if p.ClientKey != "" {
		s.key, _, err = resolveSecret("client_key", p.ClientKey)
		if err != nil {
			return err
		}
	}
	if p.DPoPKey != "" {
		s.dpopKey, _, err = resolveSecret("dpop_key", p.DPoPKey)
		if err != nil {
			return err
		}
	}
	if p.SignedRequests != "" {
		s.requestKey = s.key
		if p.RequestKey != "" {
			s.requestKey, _, err = resolveSecret("request_key", p.RequestKey)
			if err != nil {
				return err
			}
		}
	}
	if p.ClientSecret == "" {
		return nil
	}
	var literal bool
	s.secret, literal, err = resolveSecret("client_secret", p.ClientSecret)
	if err != nil {
		return err
	}
	if literal {
		a.logger.Warn("client_secret is written out in the configuration, where everybody who can read the configuration can read it; use {env.…} or {file.…}",
			zap.String("issuer", p.Issuer))
	}
	return nil
}

// poolKey hashes everything that shapes a gate. Two configurations with the same
// key share one gate, so that a reload loses nothing.
func (s *clientSettings) poolKey(store string) string {
	fields := []string{
		s.issuer, s.clientID, s.method, s.secret, s.key, store,
		s.certFile, s.certKeyFile, fmt.Sprint(s.bound),
		fmt.Sprint(s.dpop), fmt.Sprint(s.bearerToo), s.dpopKey, s.requestAlg, s.requestKey, s.poolHash,
		string(s.delivery), s.longPoll.String(), s.clockSkew.String(),
		fmt.Sprint(len(s.algs)),
	}
	fields = append(fields, s.algs...)
	for _, name := range slices.Sorted(maps.Keys(s.parameters)) {
		fields = append(fields, name, s.parameters.Get(name))
	}
	h := sha256.New()
	for _, field := range fields {
		// The length keeps fields apart whatever they contain.
		_, _ = fmt.Fprintf(h, "%d:", len(field))
		_, _ = io.WriteString(h, field)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// name names the registration at the provider, whatever else is configured for
// it: what a gate has left, a gate of the same name can take up.
func (s *clientSettings) name() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(s.issuer), s.issuer, s.clientID))
	return hex.EncodeToString(sum[:12])
}

// httpClient makes the HTTP client that talks to the provider.
func (s *clientSettings) httpClient() (*http.Client, error) {
	config := &tls.Config{RootCAs: s.pool}
	if s.certFile != "" {
		certificate, err := newClientCertificate(s.certFile, s.certKeyFile)
		if err != nil {
			return nil, err
		}
		config.GetClientCertificate = certificate.get
	}
	return ciba.NewHTTPClient(config), nil
}

// client makes the CIBA client. proofs is nil unless tokens are bound to a key.
func (s *clientSettings) client(hc *http.Client, proofs *ciba.DPoP) (*ciba.Client, error) {
	auth, err := s.authenticator()
	if err != nil {
		return nil, err
	}
	var requestKey *jose.JSONWebKey
	if s.requestAlg != "" {
		requestKey, err = ciba.ParsePrivateKey([]byte(s.requestKey))
		if err != nil {
			return nil, fmt.Errorf("reading the key of signed_requests: %w", err)
		}
	}
	return ciba.NewClient(ciba.Config{
		Issuer:                 s.issuer,
		ClientID:               s.clientID,
		Auth:                   auth,
		HTTPClient:             hc,
		SigningAlgs:            s.algs,
		Delivery:               s.delivery,
		LongPoll:               s.longPoll,
		RequestKey:             requestKey,
		RequestAlg:             s.requestAlg,
		CertificateBoundTokens: s.bound,
		DPoP:                   proofs,
		AllowBearer:            s.bearerToo,
		ClockSkew:              s.clockSkew,
	})
}

// authenticator returns how the client proves who it is.
func (s *clientSettings) authenticator() (ciba.Authenticator, error) {
	switch s.method {
	case authPost:
		return ciba.ClientSecretPost(s.secret), nil
	case authSecretJWT:
		return ciba.ClientSecretJWT(s.secret)
	case authTLS:
		return ciba.TLSClientAuth(), nil
	case authSelfSignedTLS:
		return ciba.SelfSignedTLSClientAuth(), nil
	case authPrivateKeyJWT:
		key, err := ciba.ParsePrivateKey([]byte(s.key))
		if err != nil {
			return nil, fmt.Errorf("reading client_key: %w", err)
		}
		return ciba.PrivateKeyJWT(key, "")
	default:
		return ciba.ClientSecretBasic(s.secret), nil
	}
}
