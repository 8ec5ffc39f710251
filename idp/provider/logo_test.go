package provider_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

func TestLogo(t *testing.T) {
	served, status := []byte("a picture"), http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = w.Write(served)
	}))
	t.Cleanup(server.Close)
	open := func(c *provider.Config) {
		c.Clients[0].Logo = []byte("its own")
		c.Clients[1].LogoURI = server.URL + "/logo.png"
		c.NotificationNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.NotificationRoots = x509.NewCertPool()
		c.NotificationRoots.AddCert(server.Certificate())
	}
	w := newWorld(t, open)
	for client, want := range map[string]string{"gateway": "its own", "other": "a picture"} {
		got, err := w.Logo(context.Background(), client)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", client, got, err)
		}
	}
	for _, client := range []string{"disabled", "unknown", ""} {
		_, err := w.Logo(context.Background(), client)
		wantErr(t, err, provider.ErrNotFound)
	}
	for name, answer := range map[string]struct {
		status int
		body   []byte
	}{
		"missing": {404, nil}, "redirect": {302, nil}, "too large": {200, bytes.Repeat([]byte("x"), 256<<10+1)},
	} {
		served, status = answer.body, answer.status
		got, err := w.Logo(context.Background(), "other")
		if err == nil {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
	// Threats T14: nothing is fetched from networks that were not opened.
	status = http.StatusOK
	closed := newWorld(t, func(c *provider.Config) { open(c); c.NotificationNetworks = nil })
	_, err := closed.Logo(context.Background(), "other")
	if err == nil {
		t.Error("fetched from a loopback address")
	}
}
