package idp

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/approval/federation/federationtest"
)

// Whoever the other provider vouches for, and who is a customer here, gets in; with a
// class that was given to a sign-in over there, requests that demand it can be made.
func TestSignInWith(t *testing.T) {
	s := newServer(t)
	other := federationtest.New(t)
	other.Behave(federationtest.Behavior{UserInfo: map[string]any{"customer_number": "4711"}})
	t.Setenv("IDP_TEST_LOGIN", federationtest.ClientSecret)
	s.load(strings.Replace(site, "user anna {", `sign_in_with bank `+other.URL+` {
			display_name "Bank online"
			client_id `+federationtest.ClientID+`
			client_secret {env.IDP_TEST_LOGIN}
			claim customer_number
			by_subject
			class high loa3
		}
		user dora {
			subject 4711
		}
		user anna {`, 1))
	issuer := s.url("")
	other.Expect(issuer + "/sign-in/with/bank/callback")
	if metadata := string(s.get(issuer + "/.well-known/openid-configuration")); !strings.Contains(metadata, `"loa3"`) {
		t.Errorf("the metadata lack the class: %s", metadata)
	}
	c := newCustomer(s, issuer)
	if page := string(c.get(issuer + "/sign-in")); !strings.Contains(page, "Bank online") {
		t.Errorf("the sign-in page is\n%s", page)
	}
	away, _ := c.do(c.request(http.MethodGet, issuer+"/sign-in/with/bank", nil))
	back := other.SignIn(away.Header.Get("Location"), "whoever")
	in, body := c.do(c.request(http.MethodGet, back, nil))
	if in.StatusCode != http.StatusSeeOther {
		t.Fatalf("coming back: %s\n%s", in.Status, body)
	}
	if page := string(c.get(issuer + "/")); !strings.Contains(page, "dora") {
		t.Errorf("the list is\n%s", page)
	}
	other.Behave(federationtest.Behavior{UserInfo: map[string]any{"customer_number": "4712"}})
	c = newCustomer(s, issuer)
	away, _ = c.do(c.request(http.MethodGet, issuer+"/sign-in/with/bank", nil))
	in, body = c.do(c.request(http.MethodGet, other.SignIn(away.Header.Get("Location"), "whoever"), nil))
	if in.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "not known here") {
		t.Errorf("somebody who is not known: %s\n%s", in.Status, body)
	}
}

// What a Caddyfile refuses is refused in JSON, too, and what can be seen only with
// the secrets.
func TestSignInWithMistakes(t *testing.T) {
	t.Setenv("IDP_TEST_EMPTY", "")
	newServer(t)
	for want, with := range map[string]string{
		"has a null in it":             `null`,
		"the name ''":                  `{}`,
		"has no client_secret":         `{"name": "bank", "issuer": "https://login.example.com", "client_id": "a"}`,
		"{env.IDP_TEST_EMPTY} stands":  `{"name": "bank", "issuer": "https://login.example.com", "client_id": "a", "client_secret": "{env.IDP_TEST_EMPTY}"}`,
		"without spaces":               `{"name": "bank", "issuer": "https://login.example.com", "client_id": "a", "client_secret": "{env.X}", "classes": {"a b": "c"}}`,
		"acr_values must be printable": `{"name": "bank", "issuer": "https://login.example.com", "client_id": "a", "client_secret": "{env.X}", "acr_values": ["ä"]}`,
		"must not be negative":         `{"name": "bank", "issuer": "https://login.example.com", "client_id": "a", "client_secret": "{env.X}", "max_age": -1000000000}`,
		"max_age is 1s":                `{"name": "bank", "issuer": "https://login.example.com", "client_id": "a", "client_secret": "{env.X}", "max_age": 1000000000}`,
	} {
		err := provision(t, `{"handler": "ciba_idp", "issuer": "https://id.example.com", "store": {"engine": "memory"}, "sign_in_with": [`+with+`]}`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", with, err, want)
		}
	}
}
