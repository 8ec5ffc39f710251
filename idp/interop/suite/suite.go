package suite

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Options are what a Suite needs besides the modules. All fields are required
// but Receiver in poll mode and Watch.
type Options struct {
	Config  *Config
	Variant Variant

	// Roots verify the provider's certificate.
	Roots *x509.CertPool

	// Now is the clock, and Sleep waits by it. With the clock of a test that
	// the provider uses, too, waiting takes no time.
	Now   func() time.Time
	Sleep func(time.Duration)

	// Receiver takes the notifications.
	Receiver *Receiver

	// Watch is for how long, in real time, the suite looks out for
	// notifications that must not come, behind a Sleep of 15s. It is for a
	// clock that does not go by itself.
	Watch time.Duration
}

// Suite is the suite with the configuration of one variant. Its modules run one
// after the other, as in the real one.
type Suite struct {
	Options
	first, second *client
	inbox         *inbox
}

// client is one of the two clients.
type client struct {
	ClientConfig
	key    jose.JSONWebKey
	second bool

	http *http.Client // presents the client's certificate
	bare *http.Client // presents none
}

// New returns a suite.
func New(o Options) (*Suite, error) {
	s := &Suite{Options: o}
	var err error
	s.first, err = s.newClient(o.Config.Client, o.Config.MTLS)
	if err != nil {
		return nil, fmt.Errorf("reading first client: %w", err)
	}
	s.second, err = s.newClient(o.Config.Client2, o.Config.MTLS2)
	if err != nil {
		return nil, fmt.Errorf("reading second client: %w", err)
	}
	s.second.second = true
	s.second.HintType, s.second.HintValue = s.first.HintType, s.first.HintValue
	if o.Receiver == nil {
		if o.Variant.Mode == ModePing {
			return nil, errors.New("ping mode needs a receiver")
		}
		return s, nil
	}
	s.inbox = o.Receiver.open(o.Config.Alias)
	return s, nil
}

func (s *Suite) newClient(cfg ClientConfig, certificate Certificate) (*client, error) {
	key, err := cfg.clientKey()
	if err != nil {
		return nil, err
	}
	pair, err := certificate.pair()
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	return &client{ClientConfig: cfg, key: key, http: s.httpClient(pair), bare: s.httpClient()}, nil
}

func (s *Suite) httpClient(certificates ...tls.Certificate) *http.Client {
	return &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: s.Roots, Certificates: certificates, MinVersion: tls.VersionTLS12},
		},
	}
}

// Close ends the suite's idle connections.
func (s *Suite) Close() {
	for _, c := range []*client{s.first, s.second} {
		c.http.CloseIdleConnections()
		c.bare.CloseIdleConnections()
	}
}

// Run runs one module and reports to t what the provider does wrong. Like a test
// function it ends its goroutine when it can't go on.
func (s *Suite) Run(t testing.TB, m Module) {
	t.Helper()
	r := &run{Suite: s, TB: t}
	if s.inbox != nil {
		s.inbox.reset()
	}
	r.discover()
	m.run(r)
	r.expectNoNotification(0)
}

// run is one module being run. Its methods end the test at the first deviation.
type run struct {
	*Suite
	testing.TB
	server metadata
}

// ping reports whether the variant is one of ping mode.
func (r *run) ping() bool { return r.Variant.Mode == ModePing }

// mtls reports whether clients authenticate by their certificate.
func (r *run) mtls() bool { return r.Variant.Auth == AuthMTLS }
