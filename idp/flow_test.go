package idp

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// site is a provider with one client and one user, in memory.
const site = `
http://localhost:<port> {
	ciba_idp http://localhost:<port> {
		store memory
		interval 1s
		scope transfers {
			display_name "Send money"
			audience https://api.example.com
		}
		client gateway {
			secret {env.IDP_TEST_SECRET}
			scopes profile transfers
		}
		user anna {
			name "Anna Berg"
			password {env.IDP_TEST_PASSWORD}
		}
	}
	respond "not the provider's"
}
`

func TestFlow(t *testing.T) {
	s := newServer(t)
	s.load(site)
	issuer := s.url("")

	var metadata map[string]any
	err := json.Unmarshal(s.get(issuer+"/.well-known/openid-configuration"), &metadata)
	if err != nil {
		t.Fatal(err)
	}
	if metadata["issuer"] != issuer {
		t.Errorf("the metadata has issuer %v, not %s", metadata["issuer"], issuer)
	}
	for _, endpoint := range []string{"jwks_uri", "token_endpoint", "backchannel_authentication_endpoint"} {
		address, _ := metadata[endpoint].(string)
		if !strings.HasPrefix(address, issuer+"/") {
			t.Errorf("%s is %q", endpoint, address)
		}
	}
	if !strings.Contains(string(s.get(issuer+"/jwks")), `"kid"`) {
		t.Error("the provider has no keys")
	}

	id := s.start(issuer, "profile", "transfers")
	status, answer := s.poll(issuer, id)
	if status != http.StatusBadRequest || answer["error"] != "authorization_pending" {
		t.Errorf("before the approval: %d %v", status, answer)
	}
	s.approve(issuer)
	status, answer = s.poll(issuer, id)
	if status != http.StatusOK {
		t.Fatalf("after the approval: %d %v", status, answer)
	}
	claims := s.claims(answer["id_token"])
	if claims["sub"] != "anna" || claims["iss"] != issuer || claims["urn:openid:params:jwt:claim:auth_req_id"] != id {
		t.Errorf("the ID Token says %v", claims)
	}
	r := s.request(http.MethodGet, issuer+"/userinfo", nil)
	r.Header.Set("Authorization", "Bearer "+answer["access_token"].(string))
	resp, body := s.do(r)
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"Anna Berg"`) {
		t.Errorf("userinfo: %s %s", resp.Status, body)
	}
	status, answer = s.poll(issuer, id)
	if status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
		t.Errorf("redeemed again: %d %v", status, answer)
	}
}

func TestDenied(t *testing.T) {
	s := newServer(t)
	s.load(site)
	issuer := s.url("")
	id := s.start(issuer)
	in := s.instance(issuer)
	pending, err := in.provider.Pending(t.Context(), "anna")
	if err != nil || len(pending) != 1 {
		t.Fatalf("%d requests wait: %v", len(pending), err)
	}
	err = in.provider.Deny(t.Context(), "anna", pending[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.poll(issuer, id)
	if status != http.StatusBadRequest || answer["error"] != "access_denied" {
		t.Errorf("after the denial: %d %v", status, answer)
	}
}

func TestOtherPathsGoOn(t *testing.T) {
	s := newServer(t)
	s.load(site)
	for _, path := range []string{"/favicon.ico", "/.well-known/other", "/token/", "/Token", "/jwks/x"} {
		body := s.get(s.url(path))
		if string(body) != "not the provider's" {
			t.Errorf("%s: got %q", path, body)
		}
	}
}

func TestTwoSites(t *testing.T) {
	s := newServer(t)
	other := strings.ReplaceAll(site, "localhost:", "127.0.0.1:")
	s.load(site + other)
	first, second := s.url(""), "http://127.0.0.1:"+s.port
	id := s.start(first)
	for _, issuer := range []string{first, second} {
		if !strings.Contains(string(s.get(issuer+"/.well-known/openid-configuration")), `"issuer":"`+issuer+`"`) {
			t.Errorf("%s does not answer for itself", issuer)
		}
	}
	status, answer := s.poll(second, id)
	if status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
		t.Errorf("a request of another provider: %d %v", status, answer)
	}
	pending, err := s.instance(second).provider.Pending(t.Context(), "anna")
	if err != nil || len(pending) != 0 {
		t.Errorf("the other provider shows %d requests: %v", len(pending), err)
	}
}
