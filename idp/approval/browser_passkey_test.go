package approval

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
	"github.com/caddyciba/gateway/idp/provider"
)

// newPasskeyTab is newTab at a host with a name, as passkeys need it, with an
// authenticator in the browser that has a person at hand.
func newPasskeyTab(t *testing.T, change ...func(*provider.Config, *Config)) *tab {
	t.Helper()
	b := newTab(t, append([]func(*provider.Config, *Config){func(_ *provider.Config, c *Config) {
		c.PublicURL = strings.Replace(c.PublicURL, "127.0.0.1", "localhost", 1)
	}}, change...)...)
	b.url = strings.Replace(b.url, "127.0.0.1", "localhost", 1)
	b.Do(browsertest.Call(webauthn.Enable, webauthn.EnableParams{}), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{
				Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
				HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
			},
		})
		return err
	}))
	return b
}

// signedInBy waits until alice is signed in, in some way.
func (b *tab) signedInBy(m method) {
	b.t.Helper()
	for range 600 {
		all, err := b.g.app.sessionsOf(b.Context(), "sub-alice")
		if err != nil {
			b.t.Fatal(err)
		}
		if len(all) == 1 && all[0].data.Method == m {
			return
		}
		b.Do(chromedp.Sleep(50 * time.Millisecond))
	}
	b.t.Fatalf("nobody signed in by %s", m)
}

// The whole way with passkeys in a real browser: by an enrollment link to the first
// passkey, out, in again with it, and an approval that it signs.
func TestBrowserPasskey(t *testing.T) {
	b := newPasskeyTab(t, withPayment, withClasses)
	token, _, err := b.g.app.cfg.Factors.NewLink(context.Background(), "sub-alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b.Open(b.g.app.EnrollURL(token))
	b.Has("Set up your approvals")
	b.Press(".primary")
	b.Has("Alice Liddell")
	b.Shoot("enroll")
	b.Press("[data-passkey-start]")
	b.Has("Write these codes down")
	b.Press(".primary")
	b.Has("Nothing to approve")
	b.Click(".who-am-i button")
	// The browser offers the passkey by itself (conditional mediation), and the person
	// at hand takes it.
	b.signedInBy(methodDevicePasskey)
	b.Has("Nothing to approve")

	authReqID, id := b.g.pay("alice", "Wire to D. Ocean, invoice 4711")
	b.open("/requests/" + id)
	b.wait()
	b.Click(`input[value="profile"]`)
	b.Shoot("request-passkey")
	b.Press("[data-passkey-start]")
	b.Has("Approved")
	status, tokens := b.g.redeem(authReqID)
	if status != http.StatusOK || tokens["scope"] != "openid "+testScope {
		t.Fatalf("tokens: %d, %v", status, tokens["scope"])
	}
	told := claims(t, tokens["id_token"])
	if told["acr"] != "phrh" {
		t.Errorf("acr %v, amr %v", told["acr"], told["amr"])
	}
	checkEvidence(t, b.g, id, "approve\nmy_wire_transfer_scope openid")
}
