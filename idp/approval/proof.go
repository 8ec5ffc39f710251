package approval

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/caddyciba/gateway/idp/provider"
)

const (
	// maxPassword bounds passwords, in characters. NIST SP 800-63B asks for at
	// least 64.
	maxPassword = 1024

	// maxUserName bounds what is taken for a user name, in bytes.
	maxUserName = 256

	// slotWait is how long a password check waits for a free slot.
	slotWait = 5 * time.Second
)

var (
	// errWrong says that user name and password do not belong together, for
	// whichever reason.
	errWrong = errors.New("user name or password is wrong")

	// errBusy says that too many passwords are being checked just now.
	errBusy = errors.New("too many password checks at once")
)

// throttledError says that no further password is tried before Wait is over,
// because the counter is full.
type throttledError struct {
	Wait    time.Duration
	counter counter
}

func (e *throttledError) Error() string { return "too many attempts" }

// provePassword checks a password and returns its user. It returns errWrong
// after the same work for an unknown name, a wrong password and a disabled
// user; *throttledError or errBusy when nothing was checked; and any other
// error when the check could not be made.
func (a *App) provePassword(ctx context.Context, source, name, password string) (*provider.User, error) {
	name = loginName(name)
	byUser := userCounter(strings.ToLower(name))
	bySource := sourceCounter(source)
	err := a.takeAttempts(ctx, bySource, byUser)
	if err != nil {
		return nil, err
	}
	user, err := a.cfg.Users.ByLogin(ctx, name)
	if isUnknownUser(user, err) {
		user = nil
	} else if err != nil {
		return nil, fmt.Errorf("reading the user: %w", err)
	}
	err = a.checkPassword(ctx, user, password)
	if err != nil {
		return nil, err
	}
	a.forgetAttempts(ctx, byUser)
	a.giveBackAttempt(ctx, bySource)
	return user, nil
}

// loginName writes a user name that was typed in one way.
func loginName(name string) string {
	return clip(norm.NFC.String(strings.TrimSpace(name)), maxUserName)
}

// proveAgain checks the password of who is signed in, with the errors of
// provePassword. Attempts count for the session and not for the user name:
// otherwise anybody who knows the name could use up at the sign-in page what its
// owner needs to approve something.
func (a *App) proveAgain(ctx context.Context, source string, s *session, password string) error {
	bySession := sessionCounter(s.record.ID)
	bySource := sourceCounter(source)
	err := a.takeAttempts(ctx, bySession, bySource)
	if err != nil {
		return err
	}
	err = a.checkPassword(ctx, s.user, password)
	if err != nil {
		return err
	}
	a.forgetAttempts(ctx, bySession)
	a.giveBackAttempt(ctx, bySource)
	return nil
}

// takeAttempts counts an attempt with each counter in turn. It returns
// *throttledError if one of them is full.
func (a *App) takeAttempts(ctx context.Context, counters ...counter) error {
	for _, c := range counters {
		wait, err := a.takeAttempt(ctx, c)
		if err != nil {
			return err
		}
		if wait > 0 {
			return &throttledError{Wait: wait, counter: c}
		}
	}
	return nil
}

// checkPassword returns errWrong if the password is not the user's.
func (a *App) checkPassword(ctx context.Context, user *provider.User, password string) error {
	ok, err := a.comparePassword(ctx, user, password)
	if err != nil {
		return err
	}
	if !ok {
		return errWrong
	}
	return nil
}

// comparePassword does the expensive comparison, once and of the same cost in
// every case, in one of a limited number of slots: each comparison holds the
// memory that argon2id is meant to need.
func (a *App) comparePassword(ctx context.Context, user *provider.User, password string) (bool, error) {
	valid := user != nil && !user.Disabled && user.PasswordHash != ""
	hash := a.cfg.FakeHash
	if user != nil && user.PasswordHash != "" {
		hash = []byte(user.PasswordHash)
	}
	// The same word may reach us composed or decomposed, depending on the
	// keyboard (U12).
	password = norm.NFC.String(password)
	if password == "" || utf8.RuneCountInString(password) > maxPassword || strings.ContainsRune(password, 0) {
		password, valid = "-", false
	}
	err := a.takeSlot(ctx)
	if err != nil {
		return false, err
	}
	defer func() { <-a.slots }()
	ok, err := a.cfg.ComparePassword(hash, []byte(password))
	if err != nil {
		// A hash that cannot be read is the operator's mistake, and for the
		// visitor the same as a wrong password.
		a.cfg.Logger.Error("comparing a password", errField(err))
		return false, nil
	}
	return ok && valid, nil
}

// takeSlot waits for a slot, though not for long.
func (a *App) takeSlot(ctx context.Context) error {
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	select {
	case a.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}
