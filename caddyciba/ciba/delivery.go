package ciba

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Delivery is how the provider tells a client of a decision (CIBA Core section
// 5).
type Delivery string

const (
	// DeliveryPoll leaves it to the client to ask.
	DeliveryPoll Delivery = "poll"

	// DeliveryPing has the provider say when it is time to ask. See PingHandler.
	DeliveryPing Delivery = "ping"

	// DeliveryPush has the provider bring the tokens. They cannot be bound to a
	// sender, and FAPI-CIBA forbids it: prefer the others. See PushHandler.
	DeliveryPush Delivery = "push"
)

// pingFallback is the least time between polls in ping mode without a ping.
const pingFallback = 30 * time.Second

func (d Delivery) orDefault() (Delivery, error) {
	switch d {
	case "":
		return DeliveryPoll, nil
	case DeliveryPoll, DeliveryPing, DeliveryPush:
		return d, nil
	}
	return "", fmt.Errorf("delivery %q is none of poll, ping, push", string(d))
}

// askForNotification adds a new notification token to the parameters where the
// provider is to notify us, and returns it.
func (c *Client) askForNotification(md *Metadata, form url.Values) (string, error) {
	if c.delivery == DeliveryPoll {
		return "", nil
	}
	if md.DeliveryModes != nil && !slices.Contains(md.DeliveryModes, string(c.delivery)) {
		return "", &Error{Op: "start", Code: CodeUnsupported, Err: fmt.Errorf("provider does not deliver by %s", c.delivery)}
	}
	token, err := randomText(c.rand)
	if err != nil {
		return "", invalidArgument("start", "making notification token: %w", err)
	}
	form.Set("client_notification_token", token)
	return token, nil
}

// scheduled is the time from an answer to the next poll that nothing causes.
func (p *Pending) scheduled() time.Duration {
	if p.NotificationToken != "" {
		return max(p.Interval, pingFallback)
	}
	return p.Interval
}

// NotificationHash is how a notification endpoint names what it must not keep:
// the SHA-256 of a notification token or of an auth_req_id. Looking up a hash,
// not the secret, keeps the time that it takes from telling anything about it.
type NotificationHash [sha256.Size]byte

// HashNotification returns the hash of a notification token or an auth_req_id.
func HashNotification(secret string) NotificationHash {
	return sha256.Sum256([]byte(secret))
}

// Notifications is where the notification endpoint learns whom a notification is
// for and leaves it. [Registry] implements it for one process. Whoever runs
// several behind one endpoint implements it on what they share. All methods are
// called concurrently.
type Notifications interface {
	// Expected returns the hash of the auth_req_id of the request that was started
	// with the notification token of the given hash and has not expired. For any
	// other token it returns an error that wraps ErrUnknownNotification.
	Expected(ctx context.Context, token NotificationHash) (request NotificationHash, err error)

	// Known reports whether any request of ours has an auth_req_id of the given
	// hash and has not expired.
	Known(ctx context.Context, request NotificationHash) (bool, error)

	// Ping says that the request that was started with the notification token has
	// been decided, by what the provider claims. It is a hint: the decision itself
	// comes from the token endpoint. A ping for a request that is over must do
	// nothing. The provider has its answer already, and may have closed the
	// connection: ctx does not end with it.
	Ping(ctx context.Context, token NotificationHash) error
}

// ErrUnknownNotification says that no open request has the notification token.
var ErrUnknownNotification = errors.New("notification token is unknown")

// Registry knows the pending requests of one process, for PingHandler and
// PushHandler. It is safe for concurrent use. Create one with NewRegistry.
type Registry struct {
	now func() time.Time

	mu        sync.Mutex
	byToken   map[NotificationHash]*Pending
	byRequest map[NotificationHash]*Pending
}

// NewRegistry returns an empty registry. now tells the time; nil means time.Now.
func NewRegistry(now func() time.Time) *Registry {
	if now == nil {
		now = time.Now
	}
	return &Registry{
		now:       now,
		byToken:   map[NotificationHash]*Pending{},
		byRequest: map[NotificationHash]*Pending{},
	}
}

// Add makes the request known until it expires. A notification that comes after
// the decision is answered like the first one and does nothing, as the provider
// may repeat it.
func (r *Registry) Add(p *Pending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for hash, old := range r.byToken {
		if !now.Before(old.ExpiresAt) {
			delete(r.byToken, hash)
			delete(r.byRequest, HashNotification(old.AuthReqID))
		}
	}
	r.byToken[HashNotification(p.NotificationToken)] = p
	r.byRequest[HashNotification(p.AuthReqID)] = p
}

// Expected implements Notifications.
func (r *Registry) Expected(_ context.Context, token NotificationHash) (NotificationHash, error) {
	p := r.find(r.byToken, token)
	if p == nil || p.NotificationToken == "" {
		return NotificationHash{}, ErrUnknownNotification
	}
	return HashNotification(p.AuthReqID), nil
}

// Known implements Notifications.
func (r *Registry) Known(_ context.Context, request NotificationHash) (bool, error) {
	return r.find(r.byRequest, request) != nil, nil
}

// Ping implements Notifications.
func (r *Registry) Ping(_ context.Context, token NotificationHash) error {
	p := r.find(r.byToken, token)
	if p != nil {
		p.Notify()
	}
	return nil
}

// Push implements PushNotifications.
func (r *Registry) Push(_ context.Context, pushed Pushed) error {
	p := r.find(r.byToken, HashNotification(pushed.Token))
	if p != nil {
		p.deliver(outcome{tokens: pushed.Tokens, err: pushed.Err})
	}
	return nil
}

// find returns the request that is open under a hash, or nil.
func (r *Registry) find(in map[NotificationHash]*Pending, hash NotificationHash) *Pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := in[hash]
	if p == nil || !r.now().Before(p.ExpiresAt) {
		return nil
	}
	return p
}
