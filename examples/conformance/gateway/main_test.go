package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/porttest"
)

// TestTriggers starts the example. Each URL leads to the gateway, which finds that
// nobody plays the provider, and says so; notifications are taken; and what is
// written for the suite has the private keys of the suite alone.
func TestTriggers(t *testing.T) {
	address := netip.MustParseAddrPort(porttest.Reserve(t))
	port := int(address.Port())
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var out bytes.Buffer
	o := options{host: "localhost", bind: "127.0.0.1", port: port, suite: "https://127.0.0.1:9", suiteMTLS: "https://127.0.0.1:9", dir: dir}
	go func() { done <- serve(ctx, o, &out) }()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	base := "https://" + address.String()
	select {
	case err := <-done:
		t.Fatal(err)
	case <-time.After(time.Second): // and get waits on, if that is not enough
	}
	for _, v := range variants {
		status, body := get(t, client, base+"/trigger/"+v)
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "idp-unavailable") {
			t.Errorf("%s: %d %s", v, status, body)
		}
		data, err := os.ReadFile(filepath.Join(dir, configFile(v)))
		if err != nil {
			t.Fatal(err)
		}
		var c suiteConfig
		err = json.Unmarshal(data, &c)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Client.JWKS.Keys) != 1 || !c.Client.JWKS.Keys[0].IsPublic() || len(c.Server.JWKS.Keys) != 1 || c.Server.JWKS.Keys[0].IsPublic() {
			t.Errorf("%s: the wrong keys are private", v)
		}
		want := http.StatusUnauthorized
		if strings.HasSuffix(v, "-poll") {
			want = http.StatusOK // not a notification endpoint
		}
		resp, err := client.Post(base+strings.TrimPrefix(c.Client.Notification, "https://localhost:"+strconv.Itoa(port)), "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if want == http.StatusUnauthorized && resp.StatusCode != want {
			t.Errorf("%s: a notification without token was answered by %d", v, resp.StatusCode)
		}
	}
	cancel()
	err := <-done
	if err != nil {
		t.Error(err)
	}
	for _, v := range variants {
		if !strings.Contains(out.String(), "/trigger/"+v) {
			t.Errorf("the output lacks %s:\n%s", v, out.String())
		}
	}
}

// get waits until the example serves.
func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		resp, err := client.Get(url)
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			continue
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}
