package idp

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/approval/webpush"
	"github.com/caddyciba/gateway/idp/provider"
)

func init() {
	caddy.RegisterModule(new(WebPushNotifier))
}

// WebPushNotifier sends a push message to the browsers, and the installed apps, in
// which a customer has switched notifications on. It is encrypted to the browser and
// says nothing but that something waits.
//
// The key by which push services know the operator is made when it is first needed,
// and kept in the store, as are the subscriptions; encryption_key encrypts both.
// Subscriptions that a push service no longer knows are forgotten.
type WebPushNotifier struct {
	// Whom push services turn to when something is wrong: a mailto: or https:
	// address that is reached from the Internet, for example
	// "mailto:ops@example.com". Some services refuse messages without a real
	// one. Required.
	Contact string `json:"contact,omitempty"`

	// How many subscriptions a customer may have. A further one takes the place
	// of the oldest. Default: 10. At most 50.
	PerUser int `json:"per_user,omitempty"`

	// The networks besides the public Internet in which push services may be,
	// such as "10.1.0.0/16". Addresses are checked when a connection is made.
	// Default: none.
	Networks []string `json:"networks,omitempty"`

	// The certificate authorities that push services are verified with: files in
	// PEM, read when the config is loaded. Placeholders are resolved. Default:
	// those of the system.
	CAFiles []string `json:"ca_files,omitempty"`

	poster poster
}

// maxSubscriptions bounds the option per_user.
const maxSubscriptions = 50

// CaddyModule returns the Caddy module information.
func (*WebPushNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  notifierNamespace + ".web_push",
		New: func() caddy.Module { return new(WebPushNotifier) },
	}
}

// Provision prepares what posts to push services. It connects to nothing.
func (w *WebPushNotifier) Provision(caddy.Context) error {
	err := w.check()
	if err != nil {
		return err
	}
	w.poster, err = newPoster(caddy.NewReplacer(), "web_push", w.Networks, w.CAFiles)
	return err
}

// Cleanup closes the connections that are not in use.
func (w *WebPushNotifier) Cleanup() error {
	w.poster.close()
	return nil
}

// check finds mistakes that can be found without the network.
func (w *WebPushNotifier) check() error {
	if w.Contact == "" {
		return errors.New("web_push has no contact")
	}
	err := webpush.CheckContact(w.Contact)
	if err != nil {
		return fmt.Errorf("web_push: %w", err)
	}
	if w.PerUser < 0 || w.PerUser > maxSubscriptions {
		return fmt.Errorf("web_push per_user is %d, but must be from 1 to %d", w.PerUser, maxSubscriptions)
	}
	_, err = parseNetworks("web_push networks", w.Networks)
	return err
}

// Notify implements [Notifier].
func (w *WebPushNotifier) Notify(ctx context.Context, n *Notification) error {
	if n.push == nil {
		return notice.Permanent(errors.New("web_push works as a notifier of ciba_idp alone"))
	}
	return n.push.Send(ctx, n.Request.Subject, n.Request.ExpiresAt)
}

// webPush is the notifier for push messages, if there is one.
func (g guests) webPush() *WebPushNotifier {
	for _, notifier := range g.notifiers {
		found, ok := notifier.Notifier.(*WebPushNotifier)
		if ok {
			return found
		}
	}
	return nil
}

// newPush makes the service that keeps subscriptions and sends messages to them; nil
// if the config has none.
func (in *instance) newPush(part store.Store, s *settings, to *sink) (*webpush.Service, error) {
	configured := to.webPush()
	if configured == nil {
		return nil, nil
	}
	sealer, err := provider.NewSealer(s.EncryptionKeys, nil)
	if err != nil {
		return nil, fmt.Errorf("web_push: %w", err)
	}
	service, err := webpush.New(webpush.Config{
		Store: part, Sealer: sealer, Contact: configured.Contact, Limit: configured.PerUser,
		Client: configured.poster.client, Logger: in.out.logger(),
	})
	if err != nil {
		return nil, fmt.Errorf("web_push: %w", err)
	}
	return service, nil
}

// Interface guards
var (
	_ caddy.Provisioner  = (*WebPushNotifier)(nil)
	_ caddy.CleanerUpper = (*WebPushNotifier)(nil)
	_ Notifier           = (*WebPushNotifier)(nil)
)
