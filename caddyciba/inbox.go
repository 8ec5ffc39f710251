package caddyciba

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// noticeKind is the kind of the records of requests that a provider is to
	// notify us of.
	noticeKind = "gateway.notice"

	// noticeIndex is the index under which they are found by their auth_req_id.
	noticeIndex = "request"

	// noticeRest is how long after its end a request is still known, so that a
	// notification that comes late or twice is answered as the first one.
	noticeRest = time.Minute

	// noticePause is the least time between two pings of one request that are
	// written down. A flood of pings must not become a flood of writes.
	noticePause = time.Second

	// noticeTimeout bounds the work of the store for one notification.
	noticeTimeout = 10 * time.Second

	// noticeAttempts bounds how often a write is tried against other nodes.
	noticeAttempts = 4
)

// An inbox is where notifications of a provider wait for whoever waits for them,
// on any node that shares the store. It implements ciba.PushNotifications. What is
// stored opens nothing: tokens and ids are hashes, and what was pushed is
// encrypted with a key that is made of the notification token.
type inbox struct {
	store store.Store

	// client names the registration at the provider, so that one provider cannot
	// speak for another.
	client string

	// alone says that the store serves this process alone.
	alone bool
}

func newInbox(s store.Store, alone bool, issuer, clientID string) *inbox {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(issuer), issuer, clientID))
	return &inbox{store: s, client: hex.EncodeToString(sum[:]), alone: alone}
}

// A notice is what is stored of one request.
type notice struct {
	// Client is the registration as which the request was made.
	Client string `json:"client"`

	// Request is the hash of the auth_req_id.
	Request string `json:"request"`

	// Pinged is when the last ping came. Zero before the first one.
	Pinged time.Time `json:"pinged,omitzero"`

	// Pushed is what was pushed, sealed. Nil before.
	Pushed []byte `json:"pushed,omitempty"`
}

// expect makes a request known until it expires.
func (b *inbox) expect(ctx context.Context, p *ciba.Pending) error {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	request := ciba.HashNotification(p.AuthReqID)
	data, err := json.Marshal(notice{Client: b.client, Request: hex.EncodeToString(request[:])})
	if err != nil {
		return fmt.Errorf("encoding notice: %w", err)
	}
	err = b.store.Create(ctx, &store.Record{
		Kind: noticeKind, ID: noticeID(ciba.HashNotification(p.NotificationToken)), Data: data,
		Indexes: []store.Index{{Name: noticeIndex, Value: hex.EncodeToString(request[:])}},
		Expires: p.ExpiresAt.Add(noticeRest),
	})
	if err != nil {
		return fmt.Errorf("writing notice: %w", err)
	}
	return nil
}

func noticeID(token ciba.NotificationHash) string {
	return hex.EncodeToString(token[:])
}

// Expected implements ciba.Notifications.
func (b *inbox) Expected(ctx context.Context, token ciba.NotificationHash) (ciba.NotificationHash, error) {
	waiting := listeners.find(b.client, token)
	if waiting != nil {
		return waiting.request, nil
	}
	var request ciba.NotificationHash
	_, n, err := b.read(ctx, token)
	if err != nil {
		return request, err
	}
	_, err = hex.Decode(request[:], []byte(n.Request))
	if err != nil {
		return request, fmt.Errorf("decoding notice: %w", err)
	}
	return request, nil
}

// read returns what is stored under a token, or ciba.ErrUnknownNotification.
func (b *inbox) read(ctx context.Context, token ciba.NotificationHash) (*store.Record, *notice, error) {
	record, err := b.store.Get(ctx, noticeKind, noticeID(token))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, ciba.ErrUnknownNotification
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading notice: %w", err)
	}
	n := &notice{}
	err = json.Unmarshal(record.Data, n)
	if err != nil {
		return nil, nil, fmt.Errorf("decoding notice: %w", err)
	}
	if n.Client != b.client {
		return nil, nil, ciba.ErrUnknownNotification
	}
	return record, n, nil
}

// Known implements ciba.Notifications.
func (b *inbox) Known(ctx context.Context, request ciba.NotificationHash) (bool, error) {
	records, err := b.store.List(ctx, noticeKind, store.Index{Name: noticeIndex, Value: hex.EncodeToString(request[:])}, "", 1)
	if err != nil {
		return false, fmt.Errorf("looking up request: %w", err)
	}
	return len(records) > 0, nil
}

// Ping implements ciba.Notifications. Who waits in this process is woken; else it is
// written down, which wakes who waits on another node and is found by who begins to
// wait.
func (b *inbox) Ping(ctx context.Context, token ciba.NotificationHash) error {
	if listeners.ping(b.client, token) {
		return nil
	}
	err := b.change(ctx, token, func(n *notice) bool {
		now := time.Now()
		if now.Sub(n.Pinged) < noticePause {
			return false
		}
		n.Pinged = now.UTC()
		return true
	}, relaxed)
	// Who has begun to wait meanwhile may have read what was written before.
	listeners.ping(b.client, token)
	return err
}

// Push implements ciba.PushNotifications. The first outcome stays. Who waits reads
// the body anew, and comes to the same end.
func (b *inbox) Push(ctx context.Context, p ciba.Pushed) error {
	sealed, err := seal(p.Token, p.Body)
	if err != nil {
		return err
	}
	return b.change(ctx, ciba.HashNotification(p.Token), func(n *notice) bool {
		if n.Pushed != nil {
			return false
		}
		n.Pushed = sealed
		return true
	}, durable)
}

// Whether a notice must be on the disk before whoever waits is woken. A ping that a
// crash undoes is made up for by the next poll; what was pushed comes only once.
const (
	durable = false
	relaxed = true
)

// listen begins to listen for the notification of a request: in this process, if it
// is the only one that a ping can come to. What is pushed goes by the store, as it
// must not be lost.
func (b *inbox) listen(mode ciba.Delivery, p *ciba.Pending) (<-chan struct{}, func()) {
	token := ciba.HashNotification(p.NotificationToken)
	if b.alone && mode == ciba.DeliveryPing {
		return listeners.add(b.client, token, ciba.HashNotification(p.AuthReqID))
	}
	return b.store.Watch(noticeKind, noticeID(token))
}

// change writes a notice that a function has changed, against other writers.
func (b *inbox) change(ctx context.Context, token ciba.NotificationHash, apply func(*notice) bool, relaxed bool) error {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	for range noticeAttempts {
		record, n, err := b.read(ctx, token)
		if err != nil {
			return err
		}
		if !apply(n) {
			return nil
		}
		record.Data, err = json.Marshal(n)
		if err != nil {
			return fmt.Errorf("encoding notice: %w", err)
		}
		record.Relaxed = relaxed
		err = b.store.Update(ctx, record)
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("writing notice: %w", err)
		}
	}
	return store.ErrConflict
}

// Interface guard
var _ ciba.PushNotifications = (*inbox)(nil)
