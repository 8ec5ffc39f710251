package ciba

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestIssuers(t *testing.T) {
	for issuer, ok := range map[string]bool{
		"https://id.example.com":        true,
		"https://id.example.com/":       true,
		"https://id.example.com/a/b":    true,
		"https://id.example.com:8443/a": true,
		"http://localhost:8080":         true,
		"http://LOCALHOST":              true,
		"http://127.0.0.1:8080/ciba":    true,
		"http://127.8.9.1":              true,
		"http://[::1]:8080":             true,
		// C01
		"":                               false,
		"id.example.com":                 false,
		"https://":                       false,
		"https:///a":                     false,
		"https://:443":                   false,
		"https:id.example.com":           false,
		"http://id.example.com":          false,
		"http://10.0.0.1":                false,
		"http://localhost.example.com":   false,
		"http://127.0.0.1.example.com":   false,
		"http://0.0.0.0":                 false,
		"http://2130706433":              false,
		"ftp://id.example.com":           false,
		"https://id.example.com?a=b":     false,
		"https://id.example.com/?":       false,
		"https://id.example.com#a":       false,
		"https://id.example.com/#":       false,
		"https://user@id.example.com":    false,
		"https://user:pw@id.example.com": false,
		"https://id.example.com/%zz":     false,
		" https://id.example.com":        false,
		"https://id.example.com/a b":     false,
		"https://id.example.com/a\n":     false,
		"https://id.example.com\\a":      false,
		"https://id.exämple.com":         false,
		"http://evil.localhost":          false,
	} {
		_, err := NewClient(Config{Issuer: issuer, ClientID: "c", Auth: ClientSecretBasic("s")})
		if (err == nil) != ok {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

func TestConfig(t *testing.T) {
	good := func() Config {
		return Config{Issuer: "https://id.example.com", ClientID: "c", Auth: ClientSecretBasic("s")}
	}
	for name, change := range map[string]func(*Config){
		"no client id":         func(c *Config) { c.ClientID = "" },
		"no authentication":    func(c *Config) { c.Auth = nil },
		"skew above 5 minutes": func(c *Config) { c.ClockSkew = time.Hour },
		"alg none":             func(c *Config) { c.SigningAlgs = []string{"none"} },
		"alg HS256":            func(c *Config) { c.SigningAlgs = []string{"ES256", "HS256"} },
		"alg empty":            func(c *Config) { c.SigningAlgs = []string{""} },
	} {
		cfg := good()
		change(&cfg)
		_, err := NewClient(cfg)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err := NewClient(good())
	if err != nil {
		t.Error(err)
	}
}

// The trailing slash of an issuer is part of its name and not of the path of its
// metadata, as with the conformance suite. CIBA checklist D1, D2.
func TestTrailingSlash(t *testing.T) {
	op := newFakeOP("https://id.example.com/test/a/gw/")
	op.on("/test/a/gw/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		sendJSON(w, 200, op.metadata())
	})
	c, err := NewClient(Config{
		Issuer: op.issuer, ClientID: testClient, Auth: ClientSecretBasic("s"),
		HTTPClient: &http.Client{Transport: op},
	})
	if err != nil {
		t.Fatal(err)
	}
	md, err := c.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if md.Issuer != op.issuer || len(md.DeliveryModes) != 1 || !md.SupportsDetails("wire_transfer") {
		t.Errorf("got %+v", md)
	}
}

// Many callers cause one fetch, and NewClient none.
func TestDiscoveryIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.on("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			sendJSON(w, 200, op.metadata())
		})
		if len(op.calls) != 0 {
			t.Fatal("NewClient made a request")
		}
		var done sync.WaitGroup
		for range 64 {
			done.Go(func() {
				_, err := c.Discover(t.Context())
				if err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		if n := len(op.seen("/.well-known/openid-configuration")); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

// A caller whose context ends stops waiting at once; the others get the document.
// If the last one leaves, the fetch is cut short and counts for nothing.
func TestDiscoveryHonoursEachContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		var cut atomic.Int32
		op.on("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(3 * time.Second):
				sendJSON(w, 200, op.metadata())
			case <-r.Context().Done():
				cut.Add(1)
			}
		})
		began := time.Now()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Discover(short)
		wantCode(t, err, CodeCanceled)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Fatalf("got %v after %s", err, time.Since(began))
		}
		synctest.Wait()
		if cut.Load() != 1 {
			t.Error("the fetch went on although nobody waited")
		}

		var patient sync.WaitGroup
		patient.Go(func() {
			_, err := c.Discover(t.Context())
			if err != nil {
				t.Error(err)
			}
		})
		short, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Discover(short)
		wantCode(t, err, CodeCanceled)
		patient.Wait()
		if cut.Load() != 1 {
			t.Error("the fetch was cut although somebody waited")
		}
		if n := len(op.seen("/.well-known/openid-configuration")); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

// After a failure nobody asks for a while, and is told for how long.
func TestDiscoveryBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		good := op.handlers["/.well-known/openid-configuration"]
		op.on("/.well-known/openid-configuration", writes(502, nil, ""))
		began := time.Now()
		for time.Since(began) < 100*time.Second {
			_, err := c.Start(t.Context(), Request{LoginHint: "alice"})
			wantCode(t, err, CodeUnavailable)
			time.Sleep(100 * time.Millisecond)
		}
		// At 0, 1, 3, 7, 15, 31, 61, 91 seconds.
		if n := len(op.seen("/.well-known/openid-configuration")); n != 8 {
			t.Errorf("%d fetches in 100 seconds", n)
		}
		_, err := c.Discover(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.RetryAfter <= 0 || e.RetryAfter > lastBackoff {
			t.Errorf("got %v, retry after %s", err, e.RetryAfter)
		}
		op.on("/.well-known/openid-configuration", good)
		time.Sleep(lastBackoff)
		_, err = c.Discover(t.Context())
		if err != nil {
			t.Error(err)
		}
	})
}

// Known metadata goes on to serve while the provider does not answer, for a day.
func TestDiscoveryAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		discover := func() error {
			_, err := c.Discover(t.Context())
			return err
		}
		wantCode(t, discover(), "")
		time.Sleep(29 * time.Minute)
		wantCode(t, discover(), "")
		if n := len(op.calls); n != 1 {
			t.Fatalf("%d fetches within half an hour", n)
		}
		op.on("/.well-known/openid-configuration", writes(200, nil, "<html>"))
		time.Sleep(2 * time.Minute)
		wantCode(t, discover(), "")
		time.Sleep(23 * time.Hour)
		wantCode(t, discover(), "")
		time.Sleep(time.Hour)
		wantCode(t, discover(), CodeInvalidResponse)
	})
}

// R02: a provider that accepts the connection and says nothing is given up after
// ten seconds.
func TestDiscoveryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.on("/.well-known/openid-configuration", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		began := time.Now()
		_, err := c.Discover(t.Context())
		wantCode(t, err, CodeUnavailable)
		if time.Since(began) != documentTimeout {
			t.Errorf("given up after %s", time.Since(began))
		}
	})
}

// Over real connections, with TLS and without, by the client of this package.
func TestRealConnections(t *testing.T) {
	for name, serve := range map[string]func(http.Handler) *httptest.Server{
		"plain loopback": httptest.NewServer,
		"TLS":            httptest.NewTLSServer,
	} {
		t.Run(name, func(t *testing.T) {
			op := newFakeOP("")
			server := serve(op)
			defer server.Close()
			op.issuer = server.URL
			cfg := Config{Issuer: server.URL, ClientID: testClient, Auth: ClientSecretBasic("s3cret")}
			if server.TLS != nil {
				cfg.HTTPClient = NewHTTPClient(server.Client().Transport.(*http.Transport).TLSClientConfig)
			}
			c, err := NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.http.CloseIdleConnections()
			tokens, err := c.Poll(t.Context(), start(t, c))
			if err != nil {
				t.Fatal(err)
			}
			if tokens.AccessToken != testAccess {
				t.Errorf("access token %q", tokens.AccessToken)
			}
			for _, call := range op.calls {
				if call.header.Get("Accept-Encoding") != "identity" || call.header.Get("Cookie") != "" {
					t.Errorf("header %v", call.header)
				}
			}
		})
	}
}

// A certificate that is not trusted is a provider that is not there.
func TestUntrustedCertificate(t *testing.T) {
	op := newFakeOP("")
	server := httptest.NewUnstartedServer(op)
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	defer server.Close()
	op.issuer = server.URL
	c, err := NewClient(Config{Issuer: server.URL, ClientID: testClient, Auth: ClientSecretBasic("s3cret")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Start(t.Context(), Request{LoginHint: "alice"})
	wantCode(t, err, CodeUnavailable)
	if len(op.calls) != 0 {
		t.Error("a request was sent")
	}
}

// The proxy variables of the environment are not obeyed.
func TestNoProxyFromEnvironment(t *testing.T) {
	transport, ok := NewHTTPClient(nil).Transport.(*http.Transport)
	if !ok || transport.Proxy != nil {
		t.Error("the transport has a proxy")
	}
}
