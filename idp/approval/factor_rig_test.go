package approval

import (
	"context"
	"encoding/base64"
	"html"
	"net/http/httptest"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/caddyciba/gateway/idp/approval/factor/factortest"
	"github.com/caddyciba/gateway/idp/provider"
)

// withClasses makes the classes of every way known to provider and app.
func withClasses(pc *provider.Config, c *Config) {
	c.Classes = Classes{Password: []string{"pwd"}, PasswordOTP: []string{"otp"}, Passkey: []string{"phr"}, DevicePasskey: []string{"phrh"}}
	pc.ACRValues = c.Classes.All()
}

// authenticator is one for the app of the rig.
func (g *rig) authenticator() *factortest.Authenticator {
	g.t.Helper()
	u, err := url.Parse(g.app.origin)
	if err != nil {
		g.t.Fatal(err)
	}
	return factortest.New(g.t, g.app.origin, u.Hostname())
}

// attributes of a page's form, unescaped.
var attributePattern = regexp.MustCompile(`(data-options|data-prefix|name="ticket" value)="([^"]*)"`)

// attribute returns the first value of an attribute of a page.
func attribute(t testing.TB, w *httptest.ResponseRecorder, name string) string {
	t.Helper()
	for _, found := range attributePattern.FindAllStringSubmatch(w.Body.String(), -1) {
		if found[1] == name {
			return html.UnescapeString(found[2])
		}
	}
	t.Fatalf("no %s in page (status %d):\n%s", name, w.Code, w.Body)
	return ""
}

// passkey gives a user a passkey, in the vault.
func (g *rig) passkey(user string) *factortest.Authenticator {
	g.t.Helper()
	a := g.authenticator()
	ctx := context.Background()
	vault := g.app.cfg.Factors
	options, err := vault.RegistrationOptions(ctx, &provider.User{ID: "sub-" + user, Username: user}, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	_, err = vault.Register(ctx, "sub-"+user, nil, a.Create(options), "Phone", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return a
}

// seed gives a user an authenticator app and returns its seed. The code that set it
// up is of the time step before, so that the current one is good.
func (g *rig) seed(user string) string {
	g.t.Helper()
	ctx := context.Background()
	vault := g.app.cfg.Factors
	setup, err := vault.NewTOTP(ctx, "sub-"+user, user, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	err = vault.AddTOTP(ctx, "sub-"+user, setup.Ticket, g.code(setup.Secret, -30*time.Second), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return setup.Secret
}

// code returns the code of a seed, so long after now.
func (g *rig) code(seed string, after time.Duration) string {
	g.t.Helper()
	code, err := totp.GenerateCode(seed, g.clock.Now().Add(after))
	if err != nil {
		g.t.Fatal(err)
	}
	return code
}

// signInPasskey signs in with a passkey.
func (b *browser) signInPasskey(a *factortest.Authenticator) *httptest.ResponseRecorder {
	b.g.t.Helper()
	page := b.get("/sign-in")
	answer := a.Get([]byte(attribute(b.g.t, page, "data-options")))
	return b.post("/sign-in/passkey", url.Values{"token": {token(b.g.t, page)}, "response": {string(answer)}})
}

// sign answers a page that asks for an approval by passkey, as passkey.js does.
func (b *browser) sign(a *factortest.Authenticator, id string, scopes ...string) url.Values {
	b.g.t.Helper()
	page := b.get("/requests/" + id)
	return b.signPage(a, page, scopes...)
}

func (b *browser) signPage(a *factortest.Authenticator, page *httptest.ResponseRecorder, scopes ...string) url.Values {
	b.g.t.Helper()
	ticket := attribute(b.g.t, page, `name="ticket" value`)
	prefix, err := base64.RawURLEncoding.DecodeString(attribute(b.g.t, page, "data-prefix"))
	if err != nil {
		b.g.t.Fatal(err)
	}
	challenge := sum(append(prefix, choice(append([]string{"openid", testScope}, scopes...))...))
	return url.Values{
		"token": {token(b.g.t, page)}, "decision": {"approve"}, "scope": scopes,
		"ticket": {ticket}, "response": {string(a.Sign(challenge))},
	}
}
