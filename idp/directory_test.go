package idp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/idp/provider"
)

func init() {
	caddy.RegisterModule(new(guestUsers))
}

// guestUsers is a directory that somebody else has written. It knows anna.
type guestUsers struct {
	Name string `json:"name,omitempty"`
}

// usersBehave says how guestUsers behave.
var usersBehave atomic.Pointer[string]

func (*guestUsers) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: usersNamespace + ".test_guest", New: func() caddy.Module { return new(guestUsers) }}
}

func (g *guestUsers) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&g.Name) {
		return d.ArgErr()
	}
	return nil
}

func (g *guestUsers) ByLogin(_ context.Context, hint string) (*provider.User, error) {
	return g.find(strings.EqualFold(hint, "anna"))
}

func (g *guestUsers) BySubject(_ context.Context, subject string) (*provider.User, error) {
	return g.find(subject == "anna")
}

func (g *guestUsers) find(known bool) (*provider.User, error) {
	behavior := usersBehave.Load()
	switch {
	case behavior != nil && *behavior == "fail":
		return nil, errors.New("the directory is down")
	case behavior != nil && *behavior == "panic":
		panic("the directory is broken")
	case !known:
		return nil, nil
	}
	return &provider.User{ID: "anna", Username: "anna", Name: g.Name, PasswordHash: hashOf(annaPassword)}, nil
}

// guestSite is the provider with users from a module.
func guestSite(name string) string {
	before, after, _ := strings.Cut(site, "\t\tuser anna {")
	_, after, _ = strings.Cut(after, "\n\t\t}\n")
	return before + "\t\tusers_from test_guest \"" + name + "\"\n" + after
}

// Customers come from the module: they can be asked, sign in, approve, and give
// their name; and after a reload from the module of the new config.
func TestGuestUsers(t *testing.T) {
	s := newServer(t)
	s.load(guestSite("Anna Guest"))
	issuer := s.url("")
	c := newCustomer(s, issuer)
	c.signIn()
	id := s.start(issuer, "profile", "transfers")
	resp, page := c.decide(c.open(), "approve", annaPassword)
	if resp.StatusCode >= http.StatusBadRequest {
		t.Fatalf("approving: %s\n%s", resp.Status, page)
	}
	_, answer := s.poll(issuer, id)
	if s.claims(answer["id_token"])["sub"] != "anna" {
		t.Fatalf("after the approval: %v", answer)
	}
	userinfo := func() string {
		r := s.request(http.MethodGet, issuer+"/userinfo", nil)
		access, _ := answer["access_token"].(string)
		r.Header.Set("Authorization", "Bearer "+access)
		_, body := s.do(r)
		return string(body)
	}
	if !strings.Contains(userinfo(), "Anna Guest") {
		t.Errorf("userinfo: %s", userinfo())
	}
	status, refusal := s.post(issuer+"/backchannel-authentication", url.Values{"scope": {"openid"}, "login_hint": {"ben"}})
	if status != http.StatusBadRequest || refusal["error"] != "unknown_user_id" {
		t.Errorf("a user whom the module does not know: %d %v", status, refusal)
	}
	s.load(guestSite("Anna Moved"))
	if !strings.Contains(userinfo(), "Anna Moved") {
		t.Errorf("userinfo after the reload: %s", userinfo())
	}
}

// A directory that fails or panics makes requests fail as temporarily unavailable,
// and nothing else.
func TestBrokenUsers(t *testing.T) {
	s := newServer(t)
	s.load(guestSite("Anna Guest"))
	issuer := s.url("")
	defer usersBehave.Store(nil)
	for _, behavior := range []string{"fail", "panic"} {
		usersBehave.Store(&behavior)
		status, refusal := s.post(issuer+"/backchannel-authentication", url.Values{"scope": {"openid"}, "login_hint": {"anna"}})
		if status != http.StatusServiceUnavailable || refusal["error"] != "temporarily_unavailable" {
			t.Errorf("a directory that %ss: %d %v", behavior, status, refusal)
		}
	}
	usersBehave.Store(nil)
	s.start(issuer)
}
