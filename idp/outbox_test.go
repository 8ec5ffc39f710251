package idp

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// clientServer is a client's notification endpoint.
type clientServer struct {
	*httptest.Server
	status atomic.Int64
	calls  chan map[string]any // bodies, as they come
	hold   atomic.Pointer[chan struct{}]
}

// token authenticates the provider to the client.
const token = "a-notification-token-of-128-bits"

func newClientServer(t *testing.T) *clientServer {
	t.Helper()
	c := &clientServer{calls: make(chan map[string]any, 10)}
	c.status.Store(http.StatusNoContent)
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("called with %q", r.Header.Get("Authorization"))
		}
		content, err := io.ReadAll(r.Body)
		body := make(map[string]any)
		if err == nil {
			err = json.Unmarshal(content, &body)
		}
		if err != nil {
			t.Errorf("called with %q: %v", content, err)
		}
		c.calls <- body
		hold := c.hold.Load()
		if hold != nil {
			<-*hold
		}
		w.WriteHeader(int(c.status.Load()))
	}))
	t.Cleanup(c.Close)
	return c
}

// site is a provider with the client, which is called in the given mode.
func (c *clientServer) site(t *testing.T, mode string) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw}), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		"store memory", "store bolt\n\t\tnotification_networks 127.0.0.0/8 ::1\n\t\tnotification_ca "+ca,
		"scopes profile transfers", "scopes profile transfers\n\t\t\tdelivery "+mode+"\n\t\t\tnotification_endpoint "+c.URL+"/notify",
	).Replace(site)
}

// startCalled starts a request of a client that is called.
func (s *server) startCalled(issuer string) string {
	s.t.Helper()
	status, answer := s.post(issuer+"/backchannel-authentication", url.Values{
		"scope": {"openid transfers"}, "login_hint": {"anna"}, "client_notification_token": {token},
	})
	id, _ := answer["auth_req_id"].(string)
	if status != http.StatusOK || id == "" {
		s.t.Fatalf("starting: %d %v", status, answer)
	}
	return id
}

// owed counts the calls that the provider still owes to clients.
func (s *server) owed(issuer string) int {
	s.t.Helper()
	part := newPartition(s.instance(issuer).store, issuer)
	records, err := part.List(s.t.Context(), "idp.request", store.Index{Name: "outbox", Value: "callback"}, "", 10)
	if err != nil {
		s.t.Fatal(err)
	}
	return len(records)
}

// changed is a config whose provider has other settings.
func changed(config string) string {
	return strings.ReplaceAll(config, `"Send money"`, `"Send a lot of money"`)
}

// A client is told once of a decision, whichever config was in use when it asked,
// when the customer decided, and when it answered.
func TestOutboxAcrossReload(t *testing.T) {
	for _, mode := range []string{"ping", "push"} {
		for _, change := range []string{"none", "provider"} {
			t.Run(mode+" "+change, func(t *testing.T) {
				s := newServer(t)
				c := newClientServer(t)
				first := c.site(t, mode)
				second := first
				if change == "provider" {
					second = changed(first)
				}
				s.load(first)
				issuer := s.url("")
				id := s.startCalled(issuer)

				// Between the request and the decision.
				s.load(second + "http://127.0.0.1:<port> {\n\trespond 1\n}\n")

				// While the client is being called.
				hold := make(chan struct{})
				c.hold.Store(&hold)
				s.approve(issuer)
				call := <-c.calls
				loaded := make(chan struct{})
				go func() {
					defer close(loaded)
					s.load(first + "http://127.0.0.1:<port> {\n\trespond 2\n}\n")
				}()
				if change == "none" {
					<-loaded
				} else {
					wait(t, "the new config to be in use", func() bool { return count() == 2 || isClosed(loaded) })
				}
				close(hold)
				<-loaded
				wait(t, "the call to be settled", func() bool { return s.owed(issuer) == 0 })
				if len(c.calls) != 0 {
					t.Errorf("the client was called again: %v", <-c.calls)
				}
				if call["auth_req_id"] != id || (call["id_token"] != nil) != (mode == "push") {
					t.Errorf("the client was told %v", call)
				}
				if mode == "ping" {
					status, answer := s.poll(issuer, id)
					if status != http.StatusOK {
						t.Errorf("after the ping: %d %v", status, answer)
					}
				}
			})
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// What a provider owes when it ends is delivered by the next one, once.
func TestOutboxAcrossRestart(t *testing.T) {
	for _, mode := range []string{"ping", "push"} {
		t.Run(mode, func(t *testing.T) {
			s := newServer(t)
			c := newClientServer(t)
			config := c.site(t, mode)
			s.load(config)
			issuer := s.url("")
			id := s.startCalled(issuer)
			c.status.Store(http.StatusServiceUnavailable)
			s.approve(issuer)
			<-c.calls
			err := caddy.Stop()
			if err != nil {
				t.Fatal(err)
			}
			c.status.Store(http.StatusOK)
			s.load(changed(config))
			if s.owed(issuer) != 1 {
				t.Fatal("nothing is owed")
			}
			call := <-c.calls
			if call["auth_req_id"] != id {
				t.Errorf("the client was told %v", call)
			}
			wait(t, "the call to be settled", func() bool { return s.owed(issuer) == 0 })
			if len(c.calls) != 0 {
				t.Errorf("the client was called again: %v", <-c.calls)
			}
		})
	}
}
