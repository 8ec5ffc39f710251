package approval

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// ChangeType is what a [Change] tells of.
type ChangeType string

// Types of changes.
const (
	// ChangePasskeyAdded, ChangePasskeyRemoved: by a customer who had proven shortly
	// before who he is. ChangePasskeyEnrolled: by somebody with an enrollment link.
	ChangePasskeyAdded    ChangeType = "passkey_added"
	ChangePasskeyRemoved  ChangeType = "passkey_removed"
	ChangePasskeyEnrolled ChangeType = "passkey_enrolled"

	// ChangeTOTPAdded, ChangeTOTPRemoved: an authenticator app.
	ChangeTOTPAdded   ChangeType = "totp_added"
	ChangeTOTPRemoved ChangeType = "totp_removed"

	// ChangeRecoveryMade: there are new recovery codes, and the earlier ones are no
	// good any more. ChangeRecoveryUsed: somebody has signed in with one.
	ChangeRecoveryMade ChangeType = "recovery_codes_made"
	ChangeRecoveryUsed ChangeType = "recovery_code_used"
)

// Change is a change of what a customer proves with who he is. Somebody who takes an
// account over makes one sooner or later, so a bank tells its customers of each.
type Change struct {
	Type ChangeType
	At   time.Time

	// Subject is the customer.
	Subject string

	// Source is the address of the browser.
	Source string
}

// changed notes what a customer proves with from now on, and tells the application of
// it. It has happened already, and nothing here can keep it from having happened.
func (a *App) changed(r *http.Request, t ChangeType, subject string, fields ...zap.Field) {
	c := Change{Type: t, At: a.cfg.Now(), Subject: subject, Source: a.source(r)}
	fields = append(fields, zap.String("change", string(t)), zap.String("subject", subject), zap.String("source", c.Source))
	note := a.cfg.Logger.Info
	if t == ChangePasskeyEnrolled || t == ChangeRecoveryUsed {
		note = a.cfg.Logger.Warn // No other factor vouches for these.
	}
	note("what a customer proves with has changed", fields...)
	if a.cfg.OnChange != nil {
		a.cfg.OnChange(context.WithoutCancel(r.Context()), c)
	}
}
