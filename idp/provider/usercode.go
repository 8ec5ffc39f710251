package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	kindUserCode = "idp.user_code"

	// maxUserCode bounds a user code in bytes, before any hashing.
	maxUserCode = 128

	// userCodeAttempts is how often a wrong code may be tried for a user, by
	// all clients together, before none is looked at for userCodeCoolDown.
	userCodeAttempts = 5
	userCodeCoolDown = 15 * time.Minute

	// userCodeSlots is how many codes are compared at a time. Each comparison
	// takes the memory that a password hash is meant to need.
	userCodeSlots = 4

	// userCodeWait is how long a request waits for its turn.
	userCodeWait = 5 * time.Second
)

// userCodeRecord counts the wrong codes of a user.
type userCodeRecord struct {
	Failures int   `json:"failures"`
	Last     int64 `json:"last"` // Unix milliseconds
}

// Answers about user codes. That attempts are used up looks like a wrong code.
var (
	errMissingUserCode = refuse(codeMissingUserCode, "A user code is needed for the user.")
	errInvalidUserCode = refuse(codeInvalidUserCode, "The user code is wrong.")
)

// usesUserCodes reports whether user codes are verified at all.
func (p *Provider) usesUserCodes() bool { return p.cfg.CompareUserCode != nil }

// checkUserCode demands the user code of a user who has one, from a client that
// is registered for it (CIBA Core 1.0 section 7.1.2; CIBA checklist U1, U2). It
// keeps strangers who know a login name from causing prompts.
func (p *Provider) checkUserCode(ctx context.Context, c *client, user *User, code string) error {
	if !p.usesUserCodes() || !c.UserCode || user.UserCodeHash == "" {
		return nil
	}
	switch {
	case code == "":
		return errMissingUserCode
	case len(code) > maxUserCode:
		return errInvalidUserCode
	}
	// The turn comes before the attempt, which is not to be lost to a busy hour.
	err := p.userCodes.take(ctx, userCodeWait)
	if err != nil {
		return unavailable(fmt.Errorf("waiting to compare a user code: %w", err))
	}
	defer p.userCodes.done()
	attempt, err := p.takeAttempt(ctx, user.ID)
	if err != nil {
		return err
	}
	equal, err := p.cfg.CompareUserCode([]byte(user.UserCodeHash), []byte(code))
	if err != nil {
		return unavailable(fmt.Errorf("comparing user code: %w", err))
	}
	if !equal {
		p.log.Warn("wrong user code", zap.String("client", c.ID), zap.String("subject", user.ID))
		return errInvalidUserCode
	}
	err = p.cfg.Store.Delete(ctx, kindUserCode, user.ID, attempt)
	if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		return unavailable(fmt.Errorf("clearing attempts: %w", err))
	}
	return nil
}

// takeAttempt counts an attempt before the code is looked at, so that attempts at
// the same time do not count as one. It returns the version of the record.
func (p *Provider) takeAttempt(ctx context.Context, subject string) (uint64, error) {
	now := p.now()
	record := &store.Record{Kind: kindUserCode, ID: subject, Expires: now.Add(userCodeCoolDown)}
	var count userCodeRecord
	stored, err := p.cfg.Store.Get(ctx, kindUserCode, subject)
	switch {
	case err == nil:
		err = json.Unmarshal(stored.Data, &count)
		if err != nil {
			return 0, fmt.Errorf("decoding attempts: %w", err)
		}
		record.Version = stored.Version
		if now.Sub(time.UnixMilli(count.Last)) >= userCodeCoolDown {
			count.Failures = 0
		}
	case !errors.Is(err, store.ErrNotFound):
		return 0, unavailable(fmt.Errorf("reading attempts: %w", err))
	}
	if count.Failures >= userCodeAttempts {
		return 0, errInvalidUserCode.because(errors.New("attempts are used up"))
	}
	count.Failures++
	count.Last = now.UnixMilli()
	record.Data, err = json.Marshal(count)
	if err != nil {
		return 0, fmt.Errorf("encoding attempts: %w", err)
	}
	if record.Version == 0 {
		err = p.cfg.Store.Create(ctx, record)
	} else {
		err = p.cfg.Store.Update(ctx, record)
	}
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		// Somebody else tries at this moment. Guessing does not get faster so.
		return 0, errInvalidUserCode.because(errors.New("another attempt at the same time"))
	}
	if err != nil {
		return 0, unavailable(fmt.Errorf("counting attempt: %w", err))
	}
	return record.Version, nil
}
