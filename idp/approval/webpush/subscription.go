package webpush

import (
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// kind is the record kind of subscriptions, and subjectIndex the index by
	// which a customer's are found.
	kind         = "idp.push"
	subjectIndex = "subject"

	// most bounds how many subscriptions of a customer are looked at.
	most = 100

	// tries bounds how often a write is repeated that others have come before.
	tries = 8
)

// ErrSubscription says that what a browser has sent is no subscription.
var ErrSubscription = errors.New("this is no subscription to push messages")

// Subscription is what a browser gives to whom it lets send messages.
type Subscription struct {
	// Endpoint is where messages are posted to. Whoever knows it and the keys can
	// try to send.
	Endpoint string `json:"endpoint"`

	// P256DH is the browser's public key, and Auth the secret that goes with it.
	P256DH []byte `json:"p256dh"`
	Auth   []byte `json:"auth"`
}

// ParseSubscription checks what a browser has sent; the keys are in base64url. It
// returns an error that wraps ErrSubscription if that is no subscription.
func ParseSubscription(endpoint, p256dh, auth string) (Subscription, error) {
	s := Subscription{Endpoint: endpoint}
	err := checkEndpoint(endpoint)
	if err != nil {
		return s, err
	}
	s.P256DH, err = base64.RawURLEncoding.Strict().DecodeString(p256dh)
	if err != nil || len(s.P256DH) != pointSize {
		return s, fmt.Errorf("key: %w", ErrSubscription)
	}
	_, err = ecdh.P256().NewPublicKey(s.P256DH)
	if err != nil {
		return s, fmt.Errorf("key: %w", ErrSubscription)
	}
	s.Auth, err = base64.RawURLEncoding.Strict().DecodeString(auth)
	if err != nil || len(s.Auth) != secretSize {
		return s, fmt.Errorf("secret: %w", ErrSubscription)
	}
	return s, nil
}

// Device is a subscription as its owner sees it.
type Device struct {
	// ID names the subscription. It gives no access to it.
	ID string

	// Label is what the device was called when it was subscribed.
	Label string

	// Created is when it was subscribed.
	Created time.Time
}

// stored is what the store keeps of a subscription.
type stored struct {
	Subject string    `json:"subject"`
	Label   string    `json:"label"`
	Created time.Time `json:"created"`
	Sealed  string    `json:"sealed"` // the Subscription
}

// ID returns how the subscription at an endpoint is called.
func ID(endpoint string) string {
	sum := sha256.Sum256([]byte(endpoint))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Subscribe keeps a subscription of a customer under a label of up to 100 bytes. An
// endpoint has one owner: on a device that changes hands, the one who subscribed
// last. Above the limit, the customer's oldest subscription goes.
func (s *Service) Subscribe(ctx context.Context, subject string, sub Subscription, label string) error {
	id := ID(sub.Endpoint)
	raw, err := json.Marshal(sub)
	if err != nil {
		return fmt.Errorf("encoding subscription: %w", err)
	}
	sealed, err := s.cfg.Sealer.Seal(place(kind, id), raw)
	if err != nil {
		return err
	}
	data, err := json.Marshal(stored{Subject: subject, Label: label, Created: s.cfg.Now().UTC(), Sealed: sealed})
	if err != nil {
		return fmt.Errorf("encoding subscription: %w", err)
	}
	record := &store.Record{Kind: kind, ID: id, Data: data, Indexes: []store.Index{{Name: subjectIndex, Value: subject}}}
	for range tries {
		err = s.put(ctx, record)
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("writing subscription: %w", err)
	}
	return s.prune(ctx, subject)
}

// put writes a record over the one that is there, if there is one.
func (s *Service) put(ctx context.Context, record *store.Record) error {
	err := s.cfg.Store.Create(ctx, record)
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	current, err := s.cfg.Store.Get(ctx, kind, record.ID)
	if err != nil {
		return err
	}
	record.Version = current.Version
	return s.cfg.Store.Update(ctx, record)
}

// prune removes the oldest subscriptions above the limit.
func (s *Service) prune(ctx context.Context, subject string) error {
	all, err := s.load(ctx, subject)
	if err != nil {
		return err
	}
	for _, old := range all[:max(0, len(all)-s.cfg.Limit)] {
		err = s.forget(ctx, old)
		if err != nil {
			return err
		}
	}
	return nil
}

// entry is a subscription with its record.
type entry struct {
	stored
	record *store.Record
}

// load returns the subscriptions of a customer, the oldest one first.
func (s *Service) load(ctx context.Context, subject string) ([]entry, error) {
	records, err := s.cfg.Store.List(ctx, kind, store.Index{Name: subjectIndex, Value: subject}, "", most)
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	var all []entry
	for _, record := range records {
		e := entry{record: record}
		err = json.Unmarshal(record.Data, &e.stored)
		if err != nil {
			return nil, fmt.Errorf("decoding subscription: %w", err)
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// forget removes a subscription, unless it was renewed meanwhile.
func (s *Service) forget(ctx context.Context, e entry) error {
	err := s.cfg.Store.Delete(ctx, kind, e.record.ID, e.record.Version)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing subscription: %w", err)
	}
	return nil
}

// Devices returns the subscriptions of a customer, the oldest one first.
func (s *Service) Devices(ctx context.Context, subject string) ([]Device, error) {
	all, err := s.load(ctx, subject)
	if err != nil {
		return nil, err
	}
	devices := make([]Device, len(all))
	for i, e := range all {
		devices[i] = Device{ID: e.record.ID, Label: e.Label, Created: e.Created}
	}
	return devices, nil
}

// Remove removes one subscription of a customer. One that is not there, or is
// somebody else's, is no error and stays as it is.
func (s *Service) Remove(ctx context.Context, subject, id string) error {
	all, err := s.load(ctx, subject)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.record.ID == id {
			return s.forget(ctx, e)
		}
	}
	return nil
}
