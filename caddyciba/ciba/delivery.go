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

// Notifications is where the notification endpoint learns whom a notification is
// for and leaves it. [Registry] implements it for one process. Whoever runs
// several behind one endpoint implements it on what they share. All methods are
// called concurrently.
type Notifications interface {
	// Expected returns the auth_req_id of the request that was started with the
	// notification token of the given SHA-256 and has not expired. For any other
	// token it returns an error that wraps ErrUnknownNotification. Looking up the
	// hash, not the token, keeps the time that it takes from telling anything
	// about a token.
	Expected(ctx context.Context, tokenHash [sha256.Size]byte) (authReqID string, err error)

	// Known reports whether any request of ours has the auth_req_id and has not
	// expired.
	Known(ctx context.Context, authReqID string) (bool, error)

	// Ping says that the request has been decided, by what the provider claims. It
	// is a hint: the decision itself comes from the token endpoint. It must not
	// block, and a ping for a request that is over must do nothing.
	Ping(ctx context.Context, authReqID string) error
}

// ErrUnknownNotification says that no open request has the notification token.
var ErrUnknownNotification = errors.New("notification token is unknown")

// Registry knows the pending requests of one process, for PingHandler and
// PushHandler. It is safe for concurrent use. Create one with NewRegistry.
type Registry struct {
	now func() time.Time

	mu      sync.Mutex
	byToken map[[sha256.Size]byte]*Pending
	byID    map[string]*Pending
}

// NewRegistry returns an empty registry. now tells the time; nil means time.Now.
func NewRegistry(now func() time.Time) *Registry {
	if now == nil {
		now = time.Now
	}
	return &Registry{
		now:     now,
		byToken: map[[sha256.Size]byte]*Pending{},
		byID:    map[string]*Pending{},
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
			delete(r.byID, old.AuthReqID)
		}
	}
	r.byToken[sha256.Sum256([]byte(p.NotificationToken))] = p
	r.byID[p.AuthReqID] = p
}

// Expected implements Notifications.
func (r *Registry) Expected(_ context.Context, tokenHash [sha256.Size]byte) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.byToken[tokenHash]
	if p == nil || p.NotificationToken == "" || !r.now().Before(p.ExpiresAt) {
		return "", ErrUnknownNotification
	}
	return p.AuthReqID, nil
}

// Known implements Notifications.
func (r *Registry) Known(_ context.Context, authReqID string) (bool, error) {
	return r.find(authReqID) != nil, nil
}

// Ping implements Notifications.
func (r *Registry) Ping(_ context.Context, authReqID string) error {
	p := r.find(authReqID)
	if p != nil {
		p.Notify()
	}
	return nil
}

// Push implements PushNotifications.
func (r *Registry) Push(_ context.Context, authReqID string, t *Tokens, err error) error {
	p := r.find(authReqID)
	if p != nil {
		p.deliver(outcome{tokens: t, err: err})
	}
	return nil
}

func (r *Registry) find(authReqID string) *Pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.byID[authReqID]
	if p == nil || !r.now().Before(p.ExpiresAt) {
		return nil
	}
	return p
}
