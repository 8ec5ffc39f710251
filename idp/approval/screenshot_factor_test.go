package approval

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestFactorScreenshots writes pictures of the pages about signing in into the folder
// that CIBA_SCREENSHOTS names, for a person to look at.
func TestFactorScreenshots(t *testing.T) {
	if os.Getenv("CIBA_SCREENSHOTS") == "" {
		t.Skip("CIBA_SCREENSHOTS names no folder")
	}
	for _, lang := range languages {
		for _, scheme := range []string{"light", "dark"} {
			for _, size := range []struct {
				name          string
				width, height int64
			}{{"phone", 390, 844}, {"desktop", 1280, 800}} {
				t.Run(lang+"/"+scheme+"/"+size.name, func(t *testing.T) {
					b := newPasskeyTab(t, withPayment, withClasses)
					b.Speak(lang)
					b.Media("prefers-color-scheme", scheme)
					b.Viewport(size.width, size.height)
					shootFactors(b, func(page string) { b.Shoot(page + "-" + size.name + "-" + scheme + "-" + lang) })
					b.ForgiveAll() // error pages are errors to the browser
				})
			}
		}
	}
}

func shootFactors(b *tab, shoot func(page string)) {
	b.open("/sign-in")
	shoot("signin-passkey")
	b.open("/sign-in/recovery")
	shoot("recovery")
	b.open("/enroll#nonsense")
	shoot("enroll-code")
	b.Press(".primary")
	shoot("enroll-refused")
	token, _, err := b.g.app.cfg.Factors.NewLink(context.Background(), "sub-alice", time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Open("about:blank")
	b.Open(b.g.app.EnrollURL(token))
	b.Press(".primary")
	shoot("enroll")
	b.Press("[data-passkey-start]")
	shoot("codes")
	b.open("/devices")
	shoot("devices")
	b.open("/devices/totp")
	shoot("totp")
	_, id := b.g.pay("alice", "Wire to D. Ocean, invoice 4711")
	b.open("/requests/" + id)
	b.wait()
	shoot("request-passkey")
	b.g.seed("alice")
	b.open("/devices")
	b.Run("scrollTo(0, 500)")
	shoot("devices-below")
	b.open("/requests/" + id)
	b.wait()
	shoot("request-passkey-or-code")
	b.Press(".other-way")
	shoot("confirm-code")
	b.g.clock.advance(freshProof)
	b.open("/devices")
	shoot("devices-locked")
	b.open("/prove?next=/devices")
	shoot("prove")
}
