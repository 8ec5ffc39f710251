package idp

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// other is a site that changes with a reload and is not the provider's.
const other = "http://localhost:<port>/other {\n\trespond \"%d\"\n}\n"

// A reload keeps keys and pending requests, whether the provider's settings
// stay as they are, in which case the instance does too, or change.
func TestReloadKeepsState(t *testing.T) {
	for _, store := range []string{"memory", "bolt"} {
		for _, change := range []string{"none", "provider"} {
			t.Run(store+" "+change, func(t *testing.T) {
				s := newServer(t)
				config := strings.ReplaceAll(site, "store memory", "store "+store)
				s.load(config + fmt.Sprintf(other, 1))
				issuer := s.url("")
				keys := string(s.get(issuer + "/jwks"))
				id := s.start(issuer, "transfers")
				before := s.instance(issuer)

				if change == "provider" {
					config = strings.ReplaceAll(config, `"Send money"`, `"Send a lot of money"`)
				}
				s.load(config + fmt.Sprintf(other, 2))
				after := s.instance(issuer)
				if (before == after) != (change == "none") {
					t.Errorf("the instance is the same: %t", before == after)
				}
				if string(s.get(issuer+"/jwks")) != keys {
					t.Error("the keys have changed")
				}
				s.approve(issuer)
				status, answer := s.poll(issuer, id)
				if status != http.StatusOK {
					t.Errorf("after the reload: %d %v", status, answer)
				}
			})
		}
	}
}

// With bolt, keys and requests also survive the end of the process, of which
// the closing of the store is the part that matters here.
func TestRestartKeepsState(t *testing.T) {
	s := newServer(t)
	config := strings.ReplaceAll(site, "store memory", "")
	s.load(config)
	issuer := s.url("")
	keys := string(s.get(issuer + "/jwks"))
	id := s.start(issuer)
	err := caddy.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d instances are left after the end", n)
	}
	_, err = os.Stat(filepath.Join(caddy.AppDataDir(), "ciba", "ciba.db"))
	if err != nil {
		t.Errorf("the default store: %v", err)
	}
	s.load(config)
	if string(s.get(issuer+"/jwks")) != keys {
		t.Error("the keys have changed")
	}
	s.approve(issuer)
	status, answer := s.poll(issuer, id)
	if status != http.StatusOK {
		t.Errorf("after the restart: %d %v", status, answer)
	}
}

// Caddy cleans up a replaced config while its requests are still being served.
// A request that was there before the reload must find everything that it needs
// afterwards, and the last one to leave closes the instance.
func TestReloadDuringRequest(t *testing.T) {
	s := newServer(t)
	s.load(site)
	issuer := s.url("")
	id := s.start(issuer)
	s.approve(issuer)
	old := s.instance(issuer)

	// A token request whose body has not come yet.
	form := url.Values{"grant_type": {provider.GrantCIBA}, "auth_req_id": {id}}.Encode()
	body, send := io.Pipe()
	r := s.request(http.MethodPost, issuer+"/token", body)
	r.ContentLength = int64(len(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("gateway", url.QueryEscape(gatewaySecret))
	type result struct {
		status int
		err    error
	}
	results := make(chan result, 1)
	go func() {
		resp, err := s.client.Do(r)
		if err != nil {
			results <- result{err: err}
			return
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		results <- result{resp.StatusCode, err}
	}()
	_, err := io.WriteString(send, form[:1])
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the request to be in the handler", func() bool {
		refs, _ := references(old)
		return refs == 2
	})

	s.load(strings.ReplaceAll(site, `"Send money"`, `"Send a lot of money"`))
	wait(t, "the old config to be cleaned up", func() bool {
		refs, _ := references(old)
		return refs == 1
	})
	if n := count(); n != 2 {
		t.Errorf("%d instances while the old request is served, not 2", n)
	}
	_, err = io.WriteString(send, form[1:])
	if err != nil {
		t.Fatal(err)
	}
	got := <-results
	if got.err != nil || got.status != http.StatusOK {
		t.Errorf("the request that was there before the reload: %+v", got)
	}
	wait(t, "the old instance to be closed", func() bool { return count() == 1 })
}

// A request may reach the handler of a replaced config after everybody else has
// let go of its instance: a connection was accepted just before the reload.
func TestRequestAfterCleanup(t *testing.T) {
	s := newServer(t)
	s.load(site)
	handler := servedHandler(t)
	s.load("http://localhost:<port> {\n\trespond ok\n}\n")
	wait(t, "the instance to be closed", func() bool { return count() == 0 })
	w := httptest.NewRecorder()
	r := s.request(http.MethodGet, s.url("/.well-known/openid-configuration"), nil)
	err := handler.ServeHTTP(w, r, nil)
	if err != nil || w.Code != http.StatusOK {
		t.Errorf("got %d, %v", w.Code, err)
	}
	if n := count(); n != 0 {
		t.Errorf("the request left %d instances behind", n)
	}
}

// A config that is refused leaves the one before untouched.
func TestRefusedReload(t *testing.T) {
	s := newServer(t)
	s.load(site)
	issuer := s.url("")
	before := s.instance(issuer)
	sinkBefore := before.out.current.Load()
	// The file of the store is a directory, which is found when the app starts.
	blocked := filepath.Join(t.TempDir(), "dir", "ciba.db")
	err := os.MkdirAll(blocked, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	second := strings.ReplaceAll(strings.ReplaceAll(site, "localhost:", "127.0.0.1:"), "store memory", "store bolt "+blocked)
	err = caddy.Load(s.adapt(site+second), true)
	if err == nil || !strings.Contains(err.Error(), blocked) {
		t.Fatalf("a store that cannot be opened: %v", err)
	}
	if s.instance(issuer) != before || before.out.current.Load() != sinkBefore {
		t.Error("the refused config has changed the instance in use")
	}
	s.get(issuer + "/jwks")
	if n := count(); n != 1 {
		t.Errorf("%d instances are left, not 1", n)
	}
}

// count counts the instances of the pool.
func count() int {
	n := 0
	instances.Range(func(any, any) bool { n++; return true })
	return n
}

// references counts who holds an instance.
func references(in *instance) (refs int, found bool) {
	instances.Range(func(key, value any) bool {
		if value == in {
			refs, found = instances.References(key)
		}
		return true
	})
	return refs, found
}

// wait waits for something that happens in another goroutine soon.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
