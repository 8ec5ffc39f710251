package provider_test

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// keyServer serves a client's JWKS.
type keyServer struct {
	*httptest.Server
	calls atomic.Int64

	mu     sync.Mutex
	status int
	body   []byte
	hold   *gate
}

// gate holds answers back until it is opened.
type gate struct{ arrived, open chan struct{} }

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Server.Close)
	return s
}

func (s *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	s.mu.Lock()
	status, body, hold := s.status, s.body, s.hold
	s.mu.Unlock()
	if hold != nil {
		hold.arrived <- struct{}{}
		<-hold.open
	}
	if r.URL.Path != "/jwks" || r.Method != http.MethodGet {
		status = http.StatusNotFound
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(status)
	_, err := w.Write(body)
	if err != nil && status == http.StatusOK {
		return // the reader has had enough
	}
}

func (s *keyServer) set(status int, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body = status, body
}

func (s *keyServer) holdAnswers(hold *gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = hold
}

// world has clients that keep their keys at the server: "jwt", and "own", which has
// a certificate.
func (s *keyServer) world(t *testing.T, change func(*provider.Config)) *world {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 500, 500
		c.NotificationNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.NotificationRoots = roots
		c.Clients = append(c.Clients,
			provider.Client{ID: "jwt", AuthMethod: provider.AuthPrivateKeyJWT, JWKSURI: s.URL + "/jwks"},
			provider.Client{ID: "own", AuthMethod: provider.AuthSelfSignedTLS, JWKSURI: s.URL + "/jwks"},
		)
		if change != nil {
			change(c)
		}
	})
}

var assertionSerial atomic.Int64

func (w *world) assertWith(s signer) *answer {
	w.t.Helper()
	now := w.clock.Now().Unix()
	return w.assert(s.sign(w.t, map[string]any{
		"iss": "jwt", "sub": "jwt", "aud": issuer, "exp": now + 60, "jti": strconv.FormatInt(assertionSerial.Add(1), 10),
	}, nil))
}

func (s *keyServer) wantCalls(t *testing.T, want int64) {
	t.Helper()
	if s.calls.Load() != want {
		t.Fatalf("%d fetches, want %d", s.calls.Load(), want)
	}
}

// Keys at a URL are fetched when needed, cached, and fetched again for a key that is
// new, once a minute at most.
func TestJWKSURI(t *testing.T) {
	s := newKeyServer(t)
	w := s.world(t, nil)
	first, second, third := newES256(t, "k1"), newES256(t, "k2"), newES256(t, "k3")
	s.set(200, first.jwks(t))
	s.wantCalls(t, 0) // New does no I/O
	for range 5 {
		w.assertWith(first).want(t, 200, "")
	}
	s.wantCalls(t, 1)
	w.assertWith(signer{alg: first.alg, key: second.key, kid: "k1"}).want(t, 401, "invalid_client")
	s.wantCalls(t, 1) // the key is there, the signature is not its

	s.set(200, second.jwks(t))
	w.assertWith(second).want(t, 401, "invalid_client") // it was asked for keys just now
	s.wantCalls(t, 1)
	w.clock.advance(time.Minute)
	w.assertWith(second).want(t, 200, "")
	w.assertWith(first).want(t, 401, "invalid_client") // taken back
	for range 20 {
		w.assertWith(third).want(t, 401, "invalid_client")
	}
	s.wantCalls(t, 2)

	s.set(200, third.jwks(t))
	w.clock.advance(9*time.Minute + 59*time.Second)
	w.assertWith(second).want(t, 200, "")
	s.wantCalls(t, 2)
	w.clock.advance(time.Second)
	w.assertWith(second).want(t, 401, "invalid_client") // no longer fresh
	w.assertWith(third).want(t, 200, "")
	s.wantCalls(t, 3)
}

// When the keys can't be fetched those at hand are good for an hour, and the server
// is not pressed.
func TestJWKSURIOutage(t *testing.T) {
	s := newKeyServer(t)
	w := s.world(t, nil)
	key := newES256(t, "k1")
	s.set(500, nil)
	a := w.assertWith(key)
	a.want(t, 503, "temporarily_unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.set(200, key.jwks(t))
	w.assertWith(key).want(t, 503, "temporarily_unavailable")
	s.wantCalls(t, 1)
	w.clock.advance(10 * time.Second)
	w.assertWith(key).want(t, 200, "")
	s.wantCalls(t, 2)

	large, err := json.Marshal(map[string]any{"keys": []string{strings.Repeat("x", 256<<10)}})
	if err != nil {
		t.Fatal(err)
	}
	many, err := json.Marshal(map[string]any{"keys": make([]map[string]string, 101)})
	if err != nil {
		t.Fatal(err)
	}
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.key, KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	calls := int64(2)
	for _, c := range []struct {
		name   string
		status int
		body   []byte
	}{
		{"redirect", 302, key.jwks(t)}, {"error", 404, key.jwks(t)}, {"no content", 204, nil}, {"empty", 200, nil}, {"HTML", 200, []byte("<html>")},
		{"name twice", 200, []byte(`{"keys":[],"keys":[]}`)}, {"no keys", 200, []byte(`{}`)}, {"too large", 200, large}, {"too many", 200, many},
	} {
		s.set(c.status, c.body)
		w.clock.advance(10 * time.Minute)
		w.assertWith(key).want(t, 200, "") // with what is at hand
		w.assertWith(key).want(t, 200, "")
		calls++
		if s.calls.Load() != calls {
			t.Fatalf("%s: %d fetches, want %d", c.name, s.calls.Load(), calls)
		}
		s.set(200, key.jwks(t))
		w.clock.advance(10 * time.Minute)
		w.assertWith(key).want(t, 200, "")
		calls++
		s.wantCalls(t, calls)
	}
	// A key whose private part everybody can read proves nothing.
	s.set(200, private)
	w.clock.advance(10 * time.Minute)
	w.assertWith(key).want(t, 401, "invalid_client")

	s.set(200, key.jwks(t))
	w.clock.advance(time.Minute)
	w.assertWith(key).want(t, 200, "")
	s.set(500, nil)
	w.clock.advance(59 * time.Minute)
	w.assertWith(key).want(t, 200, "")
	w.clock.advance(time.Minute)
	w.assertWith(key).want(t, 503, "temporarily_unavailable")
}

// Keys that are of no use to us do not spoil the others.
func TestJWKSURIWithForeignKeys(t *testing.T) {
	s := newKeyServer(t)
	w := s.world(t, nil)
	key := newES256(t, "k1")
	good := strings.TrimSuffix(strings.TrimPrefix(string(key.jwks(t)), `{"keys":[`), `]}`)
	s.set(200, []byte(`{"keys":[{"kty":"AKP","kid":"pq"},{"kty":"oct","k":"AAAA","kid":"k1"},{"kty":"EC","crv":"P-521"},7,`+good+`]}`))
	w.assertWith(key).want(t, 200, "")
	s.wantCalls(t, 1)
}

// Certificates and signed requests are checked by the keys at the URL, too.
func TestJWKSURIForOtherUses(t *testing.T) {
	s := newKeyServer(t)
	w := s.world(t, func(c *provider.Config) { c.Clients[0].JWKSURI = s.URL + "/jwks" })
	id := issue(t, nil, nil)
	s.set(200, x5c(t, id))
	w.startCertified(id, "own").want(t, 200, "")
	w.startCertified(issue(t, nil, nil), "own").want(t, 401, "invalid_client")
	s.wantCalls(t, 1)
	now := w.clock.Now().Unix()
	object := signer{alg: jose.ES256, key: id.key, kid: "a"}.sign(t, map[string]any{
		"iss": "gateway", "aud": issuer, "exp": now + 60, "iat": now, "nbf": now, "jti": "1", "scope": "openid", "login_hint": "alice",
	}, nil)
	w.post("gateway", "/backchannel-authentication", "request", object).want(t, 200, "")
	s.set(500, nil)
	w.restart()
	w.post("gateway", "/backchannel-authentication", "request", object).want(t, 503, "temporarily_unavailable")
}

// Of many that need the keys at the same time one fetches them, and those who can do
// without the fetch do not wait for it.
func TestJWKSURIIsFetchedOnce(t *testing.T) {
	s := newKeyServer(t)
	w := s.world(t, nil)
	key := newES256(t, "k1")
	s.set(200, key.jwks(t))
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			a := w.assertWith(key)
			if a.status != 200 {
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	wg.Wait()
	s.wantCalls(t, 1)
	hold := &gate{arrived: make(chan struct{}), open: make(chan struct{})}
	s.holdAnswers(hold)
	w.clock.advance(10 * time.Minute)
	fetcher := make(chan *answer, 1)
	go func() { fetcher <- w.assertWith(key) }()
	<-hold.arrived
	w.assertWith(key).want(t, 200, "") // while the other waits
	close(hold.open)
	(<-fetcher).want(t, 200, "")
	s.wantCalls(t, 2)
}

// Threats REG-1518, T14: a jwks_uri leads nowhere that is closed. It is fetched by the
// client of TestDialIsChecked.
func TestJWKSURIConfig(t *testing.T) {
	base := newWorld(t, nil).cfg
	for want, client := range map[string]provider.Client{
		"JWKS URI: it must be a plain https URL": {JWKSURI: "http://rp.example.com/jwks"},
		"JWKS URI: it is in a closed network":    {JWKSURI: "https://169.254.169.254/jwks"},
		"one is enough":                          {JWKSURI: "https://rp.example.com/jwks", JWKS: newES256(t, "k").jwks(t)},
	} {
		client.ID, client.AuthMethod = "jwt", provider.AuthPrivateKeyJWT
		cfg := base
		cfg.Clients = []provider.Client{client}
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
