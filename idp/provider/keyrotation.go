package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
)

// Rotation of signing keys. The plan lies in the record of the keys, in absolute
// time: a key is announced, which means published, before it signs; it signs from
// its time on until the time of its successor; it stays published until the last of
// its tokens has expired; and then it is retired, which leaves of it the public part,
// for id_token_hint. Every node looks at the record once a minute and does by a
// conditional write what is due, so that each step is made once and all nodes follow
// the same plan.
const (
	// DefaultKeyRotation is the default of Config.KeyRotation.
	DefaultKeyRotation = 30 * 24 * time.Hour

	minKeyRotation = time.Hour
	maxKeyRotation = 366 * 24 * time.Hour

	// maxAnnouncement bounds for how long a key is published before it signs.
	// Resource servers that keep our JWKS for longer do it at their own risk.
	maxAnnouncement = 24 * time.Hour

	// keysMargin is for how long a node may go on with what it has read before,
	// and with a clock that is behind.
	keysMargin = 5 * time.Minute

	// maxRetiredKeys is how many keys of one algorithm are kept for hints.
	maxRetiredKeys = 24
)

// announcement is for how long a key is published before it signs.
func (c Config) announcement() time.Duration { return min(c.KeyRotation/4, maxAnnouncement) }

// longestToken is how long the longest-lived signed token lives.
func (c Config) longestToken() time.Duration { return max(c.AccessTokenLifetime, c.IDTokenLifetime) }

// validateRotation checks how often keys are rotated.
func (c Config) validateRotation() []error {
	var errs []error
	switch {
	case c.KeyRotation < 0: // never
	case c.KeyRotation < minKeyRotation || c.KeyRotation > maxKeyRotation:
		errs = append(errs, fmt.Errorf("keys must be rotated every 1h to %s, or never", maxKeyRotation))
	case c.KeyRotation < c.longestToken():
		errs = append(errs, fmt.Errorf("keys must not be rotated more often than tokens expire, after %s", c.longestToken()))
	}
	return errs
}

// signsFrom is when the key begins to sign, in Unix seconds. Records of before there
// was rotation do not say.
func (e *keyEntry) signsFrom() int64 {
	if e.From == 0 {
		return e.Created
	}
	return e.From
}

// signing returns the index of the key that signs at a time, or -1 if there is none
// left. A clock that was put back gets the oldest.
func (r *keysRecord) signing(now int64) int {
	index := -1
	for i := range r.Keys {
		entry := &r.Keys[i]
		if !entry.Retired && (index < 0 || entry.signsFrom() <= now) {
			index = i
		}
	}
	return index
}

// signedUntil is when a key has stopped to sign. Not every key has.
func (r *keysRecord) signedUntil(i, signing int) (int64, bool) {
	switch {
	case i < signing:
		return r.Keys[i+1].signsFrom(), true
	case r.Stopped != 0:
		return r.Stopped, true
	}
	return 0, false
}

// revision is what was done to a record.
type revision struct {
	changed bool
	made    []keyEntry
	retired []string
}

// revise does what is due: makes keys, and retires them. used says whether tokens
// are signed by the algorithm; the keys of one that was used before are kept until
// its last token has expired.
func (p *Provider) revise(alg string, r *keysRecord, used bool) (revision, error) {
	var done revision
	now := p.now().Unix()
	if used == (r.Stopped != 0) {
		done.changed = true
		r.Stopped = 0
		if !used {
			r.Stopped = now
		}
	}
	if used {
		err := p.provideKeys(alg, r, now, &done)
		if err != nil {
			return done, err
		}
	}
	signing := r.signing(now)
	for i := range r.Keys {
		entry := &r.Keys[i]
		until, stopped := r.signedUntil(i, signing)
		if entry.Retired || !stopped || now < until+entry.Life+int64(keysMargin/time.Second) {
			continue
		}
		err := p.retire(alg, entry)
		if err != nil {
			return done, fmt.Errorf("retiring key %s: %w", entry.ID, err)
		}
		done.retired = append(done.retired, entry.ID)
		done.changed = true
	}
	excess := -maxRetiredKeys
	for _, entry := range r.Keys {
		if entry.Retired {
			excess++
		}
	}
	r.Keys = slices.DeleteFunc(r.Keys, func(e keyEntry) bool {
		drop := e.Retired && excess > 0 // the oldest come first
		if drop {
			excess--
			done.changed = true
		}
		return drop
	})
	return done, nil
}

// provideKeys sees to it that there is a key to sign with, that the record knows how
// long its tokens live, and that its successor is announced in time.
func (p *Provider) provideKeys(alg string, r *keysRecord, now int64, done *revision) error {
	add := func(from int64) error {
		entry, err := p.newKeyEntry(alg, from)
		if err != nil {
			return err
		}
		r.Keys = append(r.Keys, *entry)
		done.made = append(done.made, *entry)
		done.changed = true
		return nil
	}
	signing := r.signing(now)
	if signing < 0 {
		err := add(now)
		if err != nil {
			return err
		}
		signing = len(r.Keys) - 1
	}
	entry := &r.Keys[signing]
	life := int64((p.cfg.longestToken() + time.Second - 1) / time.Second)
	if entry.Life < life {
		entry.Life = life
		done.changed = true
	}
	if p.cfg.KeyRotation < 0 || signing < len(r.Keys)-1 {
		return nil
	}
	next := entry.signsFrom() + int64(p.cfg.KeyRotation/time.Second)
	ahead := int64(p.cfg.announcement() / time.Second)
	if now < next-ahead {
		return nil
	}
	return add(max(next, now+ahead))
}

// retire leaves the public part of a key.
func (p *Provider) retire(alg string, entry *keyEntry) error {
	key, err := p.openKey(alg, *entry)
	if err != nil {
		return err
	}
	entry.JWK, err = key.public.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encoding key: %w", err)
	}
	entry.Sealed, entry.Retired = "", true
	return nil
}

// logRevision tells the operator what has become of the keys.
func (p *Provider) logRevision(alg string, done revision) {
	for _, entry := range done.made {
		p.log.Info("made a signing key", zap.String("alg", alg), zap.String("kid", entry.ID), zap.Time("signs_from", time.Unix(entry.From, 0)))
	}
	for _, kid := range done.retired {
		p.log.Info("retired a signing key", zap.String("alg", alg), zap.String("kid", kid))
	}
}

// watchKeys looks at the keys once a minute also if there are no requests, so that
// they are announced in time.
func (p *Provider) watchKeys(ctx context.Context) {
	ticker := time.NewTicker(keysFreshFor)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_, err := p.keys(ctx)
			if err != nil && ctx.Err() == nil {
				p.log.Error("looking after the signing keys failed", zap.Error(err))
			}
		case <-ctx.Done():
			return
		}
	}
}

// readPublicKey reads what is left of a retired key.
func readPublicKey(alg string, entry keyEntry) (jose.JSONWebKey, error) {
	var key jose.JSONWebKey
	err := json.Unmarshal(entry.JWK, &key)
	if err != nil {
		return key, fmt.Errorf("decoding key: %w", err)
	}
	return key, checkKey(alg, entry, key)
}
