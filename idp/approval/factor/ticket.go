package factor

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// kindKey keeps the key of tickets, kindSpent the tickets that were used.
	kindKey   = "idp.factor-key"
	kindSpent = "idp.spent"

	keyID   = "tickets"
	keySize = 32

	// ticketLife is how long a ticket is good, and with it a challenge.
	ticketLife = 10 * time.Minute

	nonceSize  = 16
	ticketHead = 8 + nonceSize // expiry and nonce
	maxTicket  = 4 << 10
)

// Binding says what a ticket is good for: a purpose and whatever it is tied to, for
// example the browser's session. A ticket is of no use under another binding.
type Binding []string

// ticketKey is the key that all nodes have in common, once it was read.
type ticketKey struct{ value atomic.Pointer[[]byte] }

// Ticket returns a random token that carries a payload and is bound to something,
// good for ten minutes. It lies in a page until it comes back, so that looking at a
// page costs the store nothing; that a ticket is used once is made sure when it is
// used, see [Vault.Spend]. The payload is not hidden from whoever has the ticket.
func (v *Vault) Ticket(ctx context.Context, payload []byte, binding Binding) (string, error) {
	raw, err := v.ticket(ctx, payload, binding)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

func (v *Vault) ticket(ctx context.Context, payload []byte, binding Binding) ([]byte, error) {
	key, err := v.ticketKey(ctx)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, ticketHead, ticketHead+len(payload)+sha256.Size)
	binary.BigEndian.PutUint64(raw, uint64(v.cfg.Now().Add(ticketLife).Unix()))
	_, err = io.ReadFull(v.cfg.Rand, raw[8:])
	if err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	raw = append(raw, payload...)
	return append(raw, seal(key, raw, binding)...), nil
}

// ReadTicket returns the payload of a ticket, or ErrStale. The ticket stays good.
func (v *Vault) ReadTicket(ctx context.Context, ticket string, binding Binding) ([]byte, error) {
	raw, err := decodeTicket(ticket)
	if err != nil {
		return nil, err
	}
	return v.readTicket(ctx, raw, binding)
}

func decodeTicket(ticket string) ([]byte, error) {
	if len(ticket) > maxTicket {
		return nil, ErrStale
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(ticket)
	if err != nil {
		return nil, ErrStale
	}
	return raw, nil
}

func (v *Vault) readTicket(ctx context.Context, raw []byte, binding Binding) ([]byte, error) {
	if len(raw) < ticketHead+sha256.Size {
		return nil, ErrStale
	}
	key, err := v.ticketKey(ctx)
	if err != nil {
		return nil, err
	}
	body, mac := raw[:len(raw)-sha256.Size], raw[len(raw)-sha256.Size:]
	if !hmac.Equal(mac, seal(key, body, binding)) {
		return nil, ErrStale
	}
	if v.cfg.Now().Unix() >= ticketExpiry(raw).Unix() {
		return nil, ErrStale
	}
	return body[ticketHead:], nil
}

func ticketExpiry(raw []byte) time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(raw)), 0)
}

// Spend uses a ticket up. Of any number of callers, on any number of nodes, one gets
// its payload and all others get ErrStale.
func (v *Vault) Spend(ctx context.Context, ticket string, binding Binding) ([]byte, error) {
	raw, err := decodeTicket(ticket)
	if err != nil {
		return nil, err
	}
	return v.spend(ctx, raw, binding)
}

func (v *Vault) spend(ctx context.Context, raw []byte, binding Binding) ([]byte, error) {
	payload, err := v.readTicket(ctx, raw, binding)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	err = v.cfg.Store.Create(ctx, &store.Record{
		Kind:    kindSpent,
		ID:      base64.RawURLEncoding.EncodeToString(sum[:]),
		Expires: ticketExpiry(raw).Add(time.Minute), // for nodes whose clocks differ
	})
	if errors.Is(err, store.ErrExists) {
		return nil, ErrStale
	}
	if err != nil {
		return nil, fmt.Errorf("spending a ticket: %w", err)
	}
	return payload, nil
}

// seal authenticates a ticket with what it is bound to. Lengths in front keep the
// parts apart.
func seal(key, body []byte, binding Binding) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range binding {
		writePart(mac, []byte(part))
	}
	writePart(mac, body)
	return mac.Sum(nil)
}

// writePart writes a part with its length in front.
func writePart(w io.Writer, part []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(part)))
	// A hash takes everything.
	_, _ = w.Write(n[:])
	_, _ = w.Write(part)
}

// ticketKey returns the key that all nodes share. The first one to need it makes it.
// One that was sealed with an encryption key which is gone is replaced: all that is
// lost are the tickets of the last minutes.
func (v *Vault) ticketKey(ctx context.Context) ([]byte, error) {
	known := v.key.value.Load()
	if known != nil {
		return *known, nil
	}
	record, err := v.cfg.Store.Get(ctx, kindKey, keyID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("reading the key of tickets: %w", err)
	}
	if err == nil {
		key, err := v.cfg.Sealer.Open(kindKey, string(record.Data))
		if err == nil {
			v.key.value.Store(&key)
			return key, nil
		}
	}
	err = v.makeTicketKey(ctx, record)
	if err != nil {
		return nil, fmt.Errorf("making the key of tickets: %w", err)
	}
	record, err = v.cfg.Store.Get(ctx, kindKey, keyID) // whoever has made it
	if err != nil {
		return nil, fmt.Errorf("reading the key of tickets: %w", err)
	}
	key, err := v.cfg.Sealer.Open(kindKey, string(record.Data))
	if err != nil {
		return nil, fmt.Errorf("opening the key of tickets: %w", err)
	}
	v.key.value.Store(&key)
	return key, nil
}

// makeTicketKey writes a new key in place of an old one, if there is one. Losing the
// race for it to another node is as good as winning.
func (v *Vault) makeTicketKey(ctx context.Context, old *store.Record) error {
	key := make([]byte, keySize)
	_, err := io.ReadFull(v.cfg.Rand, key)
	if err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	sealed, err := v.cfg.Sealer.Seal(kindKey, key)
	if err != nil {
		return err
	}
	if old != nil {
		old.Data = []byte(sealed)
		err = v.cfg.Store.Update(ctx, old)
	} else {
		err = v.cfg.Store.Create(ctx, &store.Record{Kind: kindKey, ID: keyID, Data: []byte(sealed)})
	}
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
