package factor

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
)

const (
	// totpPeriod is the length of a time step, and totpSkew how many steps a phone's
	// clock may be off (RFC 6238 section 5.2).
	totpPeriod = 30
	totpSkew   = 1

	// totpSecretSize is the size of a seed in bytes, that of the output of HMAC-SHA-1
	// (RFC 4226 section 4).
	totpSecretSize = 20

	totpDigits = otp.DigitsSix

	purposeTOTP = "totp-setup"
)

// totpRecord is an authenticator app as it lies in the store.
type totpRecord struct {
	Sealed string `json:"sealed"`
	Step   int64  `json:"step"` // the last one that was used
	Added  int64  `json:"added"`
	Used   int64  `json:"used,omitempty"`
}

// TOTPSetup is what a customer enters into an authenticator app.
type TOTPSetup struct {
	// Secret is the seed, in base32.
	Secret string

	// URL is the otpauth URL with the seed, to be shown as QR code.
	URL string

	// Ticket goes into the form and comes back with the first code.
	Ticket string
}

// encoding is how authenticator apps write seeds.
var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewTOTP returns a new seed for a customer. Nothing is kept until the first code of
// it comes with [Vault.AddTOTP].
func (v *Vault) NewTOTP(ctx context.Context, subject, username string, binding Binding) (*TOTPSetup, error) {
	secret := make([]byte, totpSecretSize)
	_, err := io.ReadFull(v.cfg.Rand, secret)
	if err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	ticket, err := v.Ticket(ctx, secret, totpBinding(subject, binding))
	if err != nil {
		return nil, err
	}
	return v.setup(secret, username, ticket), nil
}

// ReadTOTP returns the setup of a ticket again, for a page that is shown again.
func (v *Vault) ReadTOTP(ctx context.Context, subject, username, ticket string, binding Binding) (*TOTPSetup, error) {
	secret, err := v.ReadTicket(ctx, ticket, totpBinding(subject, binding))
	if err != nil {
		return nil, err
	}
	return v.setup(secret, username, ticket), nil
}

func totpBinding(subject string, binding Binding) Binding {
	return append(Binding{purposeTOTP, subject}, binding...)
}

func (v *Vault) setup(secret []byte, username, ticket string) *TOTPSetup {
	encoded := encoding.EncodeToString(secret)
	query := url.Values{
		"secret": {encoded}, "issuer": {v.cfg.Name},
		"algorithm": {"SHA1"}, "digits": {totpDigits.String()}, "period": {fmt.Sprint(totpPeriod)},
	}
	u := url.URL{
		Scheme: "otpauth", Host: "totp", Path: "/" + v.cfg.Name + ":" + username,
		// Apps read a plus sign as it stands.
		RawQuery: spaces(query.Encode()),
	}
	return &TOTPSetup{Secret: encoded, URL: u.String(), Ticket: ticket}
}

// spaces writes spaces of a query as %20. A plus sign of a value is %2B there.
func spaces(query string) string {
	var b []byte
	for i := range len(query) {
		if query[i] == '+' {
			b = append(b, "%20"...)
			continue
		}
		b = append(b, query[i])
	}
	return string(b)
}

// AddTOTP keeps the seed of a ticket, in place of one that was there, once the
// customer has shown by a code that the app has it. Errors are ErrStale and ErrWrong.
func (v *Vault) AddTOTP(ctx context.Context, subject, ticket, code string, binding Binding) error {
	secret, err := v.ReadTicket(ctx, ticket, totpBinding(subject, binding))
	if err != nil {
		return err
	}
	step, ok := matchStep(secret, code, v.cfg.Now())
	if !ok {
		return ErrWrong
	}
	_, err = v.Spend(ctx, ticket, totpBinding(subject, binding))
	if err != nil {
		return err
	}
	sealed, err := v.cfg.Sealer.Seal(totpPlace(subject), secret)
	if err != nil {
		return fmt.Errorf("sealing a seed: %w", err)
	}
	return v.change(ctx, subject, func(h *held) (bool, error) {
		h.TOTP = &totpRecord{Sealed: sealed, Step: step, Added: v.cfg.Now().Unix()}
		return true, nil
	})
}

// RemoveTOTP removes the authenticator app, or returns ErrNotFound.
func (v *Vault) RemoveTOTP(ctx context.Context, subject string) error {
	return v.change(ctx, subject, func(h *held) (bool, error) {
		if h.TOTP == nil {
			return false, ErrNotFound
		}
		h.TOTP = nil
		return true, nil
	})
}

// CheckCode takes a code of the customer's authenticator app. A code is good once:
// with it all codes up to its time step are used up, on every node, by the write that
// takes it (RFC 6238 section 5.2). It returns ErrWrong for any other, also where
// there is no app.
func (v *Vault) CheckCode(ctx context.Context, subject, code string) error {
	return v.change(ctx, subject, func(h *held) (bool, error) {
		if h.TOTP == nil {
			return false, ErrWrong
		}
		secret, err := v.cfg.Sealer.Open(totpPlace(subject), h.TOTP.Sealed)
		if err != nil {
			return false, fmt.Errorf("opening a seed: %w", err)
		}
		step, ok := matchStep(secret, code, v.cfg.Now())
		if !ok || step <= h.TOTP.Step {
			return false, ErrWrong
		}
		// Sealed again, so that it follows the encryption keys.
		h.TOTP.Sealed, err = v.cfg.Sealer.Seal(totpPlace(subject), secret)
		if err != nil {
			return false, fmt.Errorf("sealing a seed: %w", err)
		}
		h.TOTP.Step, h.TOTP.Used = step, v.cfg.Now().Unix()
		return true, nil
	})
}

func totpPlace(subject string) string { return kindAccount + "/totp/" + subject }

// matchStep returns the time step that a code belongs to. A code is six digits,
// nothing else.
func matchStep(secret []byte, code string, now time.Time) (int64, bool) {
	if len(code) != totpDigits.Length() {
		return 0, false
	}
	found, ok := int64(0), false
	current := now.Unix() / totpPeriod
	for step := current - totpSkew; step <= current+totpSkew; step++ {
		want, err := hotp.GenerateCodeCustom(encoding.EncodeToString(secret), uint64(step),
			hotp.ValidateOpts{Digits: totpDigits, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			found, ok = step, true
		}
	}
	return found, ok
}
