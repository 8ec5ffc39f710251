package approval

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// text is what stands on a page between two others, without the spaces in it.
func text(page, before, after string) string {
	_, rest, _ := strings.Cut(page, before)
	found, _, _ := strings.Cut(rest, after)
	return strings.ReplaceAll(found, " ", "")
}

// Each change of what a customer proves with is told once, to nobody's advantage if it
// was refused, and with the address from which it came.
func TestChangesAreTold(t *testing.T) {
	var told []Change
	g := newRig(t, func(_ *provider.Config, c *Config) {
		c.OnChange = func(ctx context.Context, c Change) {
			err := ctx.Err()
			if err != nil {
				t.Error(err)
			}
			told = append(told, c)
		}
	})
	expect := func(want ...ChangeType) {
		t.Helper()
		var got []ChangeType
		for _, c := range told {
			got = append(got, c.Type)
			if c.Subject != "sub-alice" || c.Source == "" || !c.At.Equal(g.clock.Now()) {
				t.Errorf("told %+v", c)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		told = nil
	}

	code, _, err := g.app.cfg.Factors.NewLink(context.Background(), "sub-alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b := g.browser()
	b.post("/enroll", url.Values{"token": {token(t, b.get("/enroll"))}, "code": {code}})
	page := b.get("/enroll")
	form := url.Values{"token": {token(t, page)}, "response": {"{}"}}
	if w := b.post("/enroll", form); w.Code != http.StatusBadRequest {
		t.Errorf("no passkey at all: %d", w.Code)
	}
	expect()
	a := g.authenticator()
	page = b.get("/enroll")
	form = url.Values{"token": {token(t, page)}, "response": {string(a.Create([]byte(attribute(t, page, "data-options"))))}}
	if w := b.post("/enroll", form); w.Code != http.StatusOK {
		t.Fatalf("enrolling: %d", w.Code)
	}
	expect(ChangePasskeyEnrolled, ChangeRecoveryMade)

	b = g.browser()
	b.signInPasskey(a)
	expect()
	page = b.get("/devices")
	response := string(g.authenticator().Create([]byte(attribute(t, page, "data-options"))))
	b.act("add-passkey", url.Values{"response": {response}})
	expect(ChangePasskeyAdded)
	account, err := g.app.cfg.Factors.Account(context.Background(), "sub-alice")
	if err != nil || len(account.Passkeys) != 2 {
		t.Fatalf("%+v, %v", account, err)
	}
	b.act("remove-passkey", url.Values{"id": {account.Passkeys[1].ID}})
	expect(ChangePasskeyRemoved)
	b.act("remove-passkey", url.Values{"id": {account.Passkeys[1].ID}})
	expect()

	page = b.get("/devices/totp")
	ticket, secret := attribute(t, page, `name="ticket" value`), text(page.Body.String(), `<p class="secret" dir="ltr">`, `</p>`)
	b.post("/devices/totp", url.Values{"token": {token(t, page)}, "ticket": {ticket}, "code": {g.code(secret, 0)}})
	expect(ChangeTOTPAdded)
	b.act("remove-totp", nil)
	expect(ChangeTOTPRemoved)

	codes, err := g.app.cfg.Factors.NewRecoveryCodes(context.Background(), "sub-alice")
	if err != nil {
		t.Fatal(err)
	}
	b = g.browser()
	page = b.get("/sign-in/recovery")
	b.post("/sign-in/recovery", url.Values{"token": {token(t, page)}, "username": {"alice"}, "password": {testPassword}, "code": {codes[0]}})
	expect(ChangeRecoveryUsed)
}
