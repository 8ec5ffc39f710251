package factor

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// Account is what a customer can prove with, as pages and operators may see it.
type Account struct {
	// Passkeys are the customer's passkeys, oldest first.
	Passkeys []Passkey

	// TOTP tells of the authenticator app; nil if there is none.
	TOTP *TOTP

	// RecoveryCodes is how many recovery codes are left.
	RecoveryCodes int

	// LinkExpires is until when an enrollment link is open; zero if there is none.
	LinkExpires time.Time
}

// Strong reports whether the customer has more than a password to prove with.
func (a *Account) Strong() bool { return a.CanUsePasskey() || a.TOTP != nil }

// CanUsePasskey reports whether there is a passkey that is not blocked.
func (a *Account) CanUsePasskey() bool {
	for _, p := range a.Passkeys {
		if !p.Blocked {
			return true
		}
	}
	return false
}

// Passkey is one passkey.
type Passkey struct {
	// ID names the passkey among those of its customer. It is derived from the
	// credential id and is no secret.
	ID string

	// Name is what the customer calls it.
	Name string

	// Added and Used are when it was added and last used; Used is zero for never.
	Added, Used time.Time

	// Synced passkeys may be copied between devices by their maker's cloud (backup
	// eligible, WebAuthn Level 3 section 6.1.3); others stay on one device.
	Synced bool

	// Blocked passkeys are refused because they may have been copied.
	Blocked bool
}

// TOTP tells of an authenticator app.
type TOTP struct {
	// Added and Used are when it was added and last used; Used is zero for never.
	Added, Used time.Time
}

// accountRecord is an account as it lies in the store. Times are Unix seconds.
type accountRecord struct {
	Handle   []byte          `json:"handle,omitempty"`
	Passkeys []passkeyRecord `json:"passkeys,omitempty"`
	TOTP     *totpRecord     `json:"totp,omitempty"`
	Recovery [][]byte        `json:"recovery,omitempty"` // hashes
	Link     *linkRecord     `json:"link,omitempty"`
}

// passkeyRecord holds the credential verbatim, flags and all, as the library wants
// it back.
type passkeyRecord struct {
	ID         string              `json:"id"`
	Name       string              `json:"name"`
	Added      int64               `json:"added"`
	Used       int64               `json:"used,omitempty"`
	Blocked    bool                `json:"blocked,omitempty"`
	Credential webauthn.Credential `json:"credential"`
}

func (a *accountRecord) empty() bool {
	return len(a.Passkeys) == 0 && a.TOTP == nil && len(a.Recovery) == 0 && a.Link == nil
}

// indexes returns the entries by which the account is found.
func (a *accountRecord) indexes() []store.Index {
	var entries []store.Index
	if len(a.Passkeys) > 0 {
		entries = append(entries, handleIndex(a.Handle))
	}
	for _, p := range a.Passkeys {
		entries = append(entries, credentialIndex(p.Credential.ID))
	}
	if a.Link != nil {
		entries = append(entries, linkIndex(a.Link.Hash))
	}
	return entries
}

func handleIndex(handle []byte) store.Index {
	return store.Index{Name: indexHandle, Value: base64.RawURLEncoding.EncodeToString(handle)}
}

func credentialIndex(id []byte) store.Index {
	return store.Index{Name: indexCredential, Value: passkeyID(id)}
}

// passkeyID is the public id of a passkey. Credential ids may have a kilobyte.
func passkeyID(credential []byte) string {
	sum := sha256.Sum256(credential)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Account returns what a customer can prove with. It is never nil without an error.
func (v *Vault) Account(ctx context.Context, subject string) (*Account, error) {
	h, err := v.load(ctx, subject)
	if err != nil {
		return nil, err
	}
	a := &Account{RecoveryCodes: len(h.Recovery)}
	for _, p := range h.Passkeys {
		a.Passkeys = append(a.Passkeys, p.describe())
	}
	if h.TOTP != nil {
		a.TOTP = &TOTP{Added: unix(h.TOTP.Added), Used: unix(h.TOTP.Used)}
	}
	if h.Link != nil && v.cfg.Now().Unix() < h.Link.Expires {
		a.LinkExpires = unix(h.Link.Expires)
	}
	return a, nil
}

// Forget removes everything that a customer can prove with, and an open link.
func (v *Vault) Forget(ctx context.Context, subject string) error {
	return v.change(ctx, subject, func(h *held) (bool, error) {
		h.accountRecord = accountRecord{}
		return true, nil
	})
}

func (p *passkeyRecord) describe() Passkey {
	return Passkey{
		ID: p.ID, Name: p.Name, Added: unix(p.Added), Used: unix(p.Used),
		Synced: p.Credential.Flags.BackupEligible, Blocked: p.Blocked,
	}
}

// unix is a time of seconds since 1970, where 0 is no time.
func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
