package stepup

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// onceKind is the kind of the records that keep a request from being asked
	// about or carried out twice.
	onceKind = "gateway.once"

	// keepKey is how long the Idempotency-Key of a request that was sent is
	// remembered after the request's end.
	keepKey = 24 * time.Hour

	// keepReleased is how long a record is kept that nobody needs any more. It is
	// not deleted at once, so that its version tells all who have read it that
	// things have moved on.
	keepReleased = time.Minute

	// orphanAge is the age after which a record without a transaction belongs to a
	// process that died between two writes.
	orphanAge = recoveryMargin + 2*storeTimeout

	// onceAttempts bounds how often a record is tried that others release.
	onceAttempts = 8

	// duplicateRetryAfter is when a caller may repeat a request with an
	// Idempotency-Key to learn what became of the first.
	duplicateRetryAfter = 5 * time.Second
)

var (
	errDuplicate = errors.New("same request is there already")
	errContended = errors.New("record of duplicates is taken and released all the time")
)

// once is the record by which the first of several equal requests is known to the
// others: those with the same digest, or, where there is an Idempotency-Key,
// those of the caller with the same key for the same host.
type once struct {
	// Transaction is the id of the first one's transaction, empty once the record
	// is released. The transaction says what became of it.
	Transaction string `json:"transaction,omitempty"`

	// Digest is the first one's, which a repetition with the same key must have.
	Digest string `json:"digest,omitempty"`

	// Taken is when the record was written.
	Taken time.Time `json:"taken"`
}

// ticket is the right to be the first.
type ticket struct {
	id      string
	version uint64
	keyed   bool
}

// onceID names the record. It is a hash, as keys and callers may be long or
// secret.
func onceID(key, caller, host string, digest Digest) string {
	h := sha256.New()
	form := canonicalWriter{w: h}
	if key == "" {
		form.text("digest")
		form.text(digest.String())
	} else {
		form.text("key")
		form.text(key)
		form.text(caller)
		form.text(host)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// first makes the request the only one of its kind, by one conditional write. If
// another one came before, the error is a *Refusal that names its transaction.
// The time is how long the transaction can last.
func (j *Journal) first(ctx context.Context, id string, keyed bool, o once, lasts time.Duration) (*ticket, error) {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	o.Taken = j.cfg.Now().UTC()
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encoding record of duplicates: %w", err)
	}
	if keyed {
		// The transaction says what became of the request, so it must be there.
		lasts += min(keepKey, j.cfg.Retention)
	}
	mine := &store.Record{Kind: onceKind, ID: id, Data: data, Expires: o.Taken.Add(lasts)}
	for range onceAttempts {
		err = j.cfg.Store.Create(ctx, mine)
		if err == nil {
			return &ticket{id: id, version: mine.Version, keyed: keyed}, nil
		}
		if !errors.Is(err, store.ErrExists) {
			return nil, fmt.Errorf("writing record of duplicates: %w", err)
		}
		theirs, err := j.cfg.Store.Get(ctx, onceKind, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading record of duplicates: %w", err)
		}
		err = j.standsAside(ctx, theirs.Data, o.Digest, keyed)
		if err != nil {
			return nil, err
		}
		mine.Version = theirs.Version
		err = j.cfg.Store.Update(ctx, mine)
		if err == nil {
			return &ticket{id: id, version: mine.Version, keyed: keyed}, nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("writing record of duplicates: %w", err)
		}
	}
	return nil, fmt.Errorf("writing record of duplicates: %w", errContended)
}

// standsAside returns nil if the request that holds the record is over and the
// next one may take its place.
func (j *Journal) standsAside(ctx context.Context, data []byte, digest string, keyed bool) error {
	var o once
	err := json.Unmarshal(data, &o)
	if err != nil {
		return fmt.Errorf("decoding record of duplicates: %w", err)
	}
	if o.Transaction == "" {
		return nil
	}
	t := &Transaction{ID: o.Transaction, State: StateHeld}
	e, err := j.read(ctx, o.Transaction)
	switch {
	case err == nil:
		t = e.Transaction
	case !errors.Is(err, store.ErrNotFound):
		return err
	case j.cfg.Now().Sub(o.Taken) > orphanAge:
		return nil
	}
	if t.State.Final() && (!keyed || t.Forwarded() == ForwardedNo) {
		return nil
	}
	return duplicate(t, keyed, o.Digest == digest)
}

// duplicate is the refusal of a request because of the transaction t.
func duplicate(t *Transaction, keyed, same bool) *Refusal {
	var f *Refusal
	switch {
	case !keyed:
		// Without a key, a repetition after the first one's end is a request of its
		// own: nothing here may invite it.
		f = refuse(ProblemIdentical, "The same request is waiting already. This one was dropped and nobody was asked twice.", errDuplicate)
	case !same:
		f = refuse(ProblemKeyReused, "Nothing was sent. Use a new Idempotency-Key for a request that is not the same.", errDuplicate)
		return f
	case t.State.Final():
		f = refuse(ProblemAlreadySent, "This request was sent before, under the same Idempotency-Key, and was not sent again. The answer of that time is not kept.", errDuplicate)
	default:
		f = refuse(ProblemInProgress, "The request with this Idempotency-Key is not finished. This repetition was dropped and nobody was asked twice.", errDuplicate)
		f.RetryAfter = duplicateRetryAfter
	}
	f.Transaction, f.State, f.Forwarded = t.ID, t.State, t.Forwarded()
	return f
}

// release lets an equal request be the next.
func (j *Journal) release(ctx context.Context, t *ticket) error {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	now := j.cfg.Now().UTC()
	data, err := json.Marshal(once{Taken: now})
	if err != nil {
		return fmt.Errorf("encoding record of duplicates: %w", err)
	}
	r := &store.Record{Kind: onceKind, ID: t.id, Version: t.version, Data: data, Expires: now.Add(keepReleased)}
	err = j.cfg.Store.Update(ctx, r)
	if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("releasing record of duplicates: %w", err)
	}
	return nil
}

// beFirst refuses a request that is there already.
func (h *hold) beFirst(transaction string) error {
	keyed := h.key != ""
	id := onceID(h.key, h.ask.Caller, h.snapshot.Host(), h.digest)
	lasts := h.patience() + answerTime + recoveryMargin
	if keyed {
		// As long as there is an answer to give again, there is a key to ask for it.
		lasts += max(0, h.route.Retention-keepKey)
	}
	var err error
	h.ticket, err = h.gate.journal.first(h.caller, id, keyed, once{Transaction: transaction, Digest: h.digest.String()}, lasts)
	var f *Refusal
	if err != nil && !errors.As(err, &f) {
		return storeRefusal(err)
	}
	return err
}

// release lets an equal request be the next, unless this one bears an
// Idempotency-Key and was sent. If the store does not take it, whoever comes next
// finds out by the transaction that this one is over.
func (h *hold) release() {
	if h.ticket == nil || h.ticket.keyed && h.entry != nil && h.entry.Forwarded() != ForwardedNo {
		return
	}
	err := h.gate.journal.release(h.caller, h.ticket)
	if err != nil {
		h.gate.log.Warn("record of duplicates was not released", zap.Error(err))
	}
}
