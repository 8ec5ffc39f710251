package idp

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/provider"
)

// Notifier tells a customer that a request waits: by a push message, an e-mail, a
// webhook. It is what a module of the namespace ciba_idp.notifiers implements.
//
// Notifications are sent out of band. Whatever a notifier does, it neither delays
// nor fails the answer to the client, nor what other notifiers do; a request whose
// customer was not notified waits in the approval app all the same.
type Notifier interface {
	// Notify sends one notification. It is called once for each request, in a
	// goroutine of its own, many of them at a time, and may go on for 30 seconds,
	// when the context ends. It may be called, and go on, after Cleanup of the
	// module, while a config is being replaced. An error is logged and counted,
	// and nothing is tried again: a notifier that wants to does so itself. It
	// must hold no secret.
	Notify(ctx context.Context, n *Notification) error
}

// Notification is what a notifier is told. It must not be changed.
type Notification struct {
	// Issuer is the issuer of the provider.
	Issuer string

	// URL is the page of the approval app on which the customer decides. Knowing
	// it gives no access: the customer has to sign in.
	URL string

	// Request is the request that waits.
	Request *provider.Request

	// User is the customer who is asked, without the hashes of passwords and
	// codes. Nil if the user store cannot say now.
	User *provider.User
}

const (
	// notifyTimeout bounds what a notifier may take for one notification.
	notifyTimeout = 30 * time.Second

	// notifyGrace is how long the end of the process waits for notifications.
	notifyGrace = 5 * time.Second

	// maxNotifying bounds the notifications that are being sent at a time. Those
	// above it are dropped: a notifier that hangs must not fill the memory.
	maxNotifying = 1000
)

// notifying are the notifications that are being sent by all providers.
var notifying = make(chan struct{}, maxNotifying)

// namedNotifier is a notifier with the name by which it is configured.
type namedNotifier struct {
	Notifier
	name string
}

var errTooManyNotifications = errors.New("too many notifications are being sent")

// notify sends a notification by all notifiers of the config in use. It returns at
// once.
func (in *instance) notify(ctx context.Context, request *provider.Request) {
	s := in.out.current.Load()
	if len(s.notifiers) == 0 {
		return
	}
	n := &Notification{Issuer: in.issuer, URL: in.issuer + "/requests/" + request.ID, Request: request}
	user, err := in.users.BySubject(ctx, request.Subject)
	if err == nil {
		n.User = withoutHashes(user)
	}
	for _, notifier := range s.notifiers {
		select {
		case notifying <- struct{}{}:
		default:
			in.notified(s, notifier, request, errTooManyNotifications)
			continue
		}
		// The context of the caller ends with the provider, which a reload may
		// close: a notification that is on its way is not taken back by it.
		s.sending.Go(func() {
			defer func() { <-notifying }()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTimeout)
			defer cancel()
			in.notified(s, notifier, request, notifier.try(ctx, s, n))
		})
	}
}

// try calls the notifier, and takes a panic for an error.
func (n namedNotifier) try(ctx context.Context, s *sink, notification *Notification) (err error) {
	defer s.guard(notifierNamespace+"."+n.name, &err)
	return n.Notify(ctx, notification)
}

// notified counts and logs how a notification ended.
func (in *instance) notified(s *sink, notifier namedNotifier, request *provider.Request, err error) {
	outcome := "sent"
	switch {
	case errors.Is(err, errTooManyNotifications):
		outcome = "dropped"
	case err != nil:
		outcome = "failed"
	}
	collectors.notifications.WithLabelValues(in.issuer, notifier.name, outcome).Inc()
	fields := []zap.Field{zap.String("notifier", notifier.name), zap.String("request", request.ID), zap.String("subject", request.Subject)}
	if err != nil {
		s.logger.Error("the customer was not notified", append(fields, zap.Error(err))...)
		return
	}
	s.logger.Debug("the customer was notified", fields...)
}

// withoutHashes returns the user without what passwords can be guessed with.
func withoutHashes(u *provider.User) *provider.User {
	clean := *u
	clean.PasswordHash, clean.UserCodeHash = "", ""
	return &clean
}
