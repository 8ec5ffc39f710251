package idp

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/approval/webpush"
	"github.com/caddyciba/gateway/idp/provider"
)

// Notifier tells a customer that a request waits: by a push message, an e-mail, a
// webhook. It is what a module of the namespace ciba_idp.notifiers implements.
//
// Notifications are sent out of band. Whatever a notifier does, it neither delays
// nor fails the answer to the client, nor what other notifiers do; a request whose
// customer was not notified waits in the approval app all the same.
type Notifier interface {
	// Notify makes one attempt at one notification. It is called in a goroutine
	// of its own, up to 256 of them at a time, and may go on for 15 seconds, when
	// the context ends. It may be called, and go on, after Cleanup of the module,
	// while a config is being replaced.
	//
	// An error is logged and counted, and must hold no secret. The notification
	// is tried again, five times in all and for as long as the request waits,
	// unless the error is one of notice.ErrNoAddress, for a customer who cannot
	// be reached this way, or was made by notice.Permanent.
	Notify(ctx context.Context, n *Notification) error
}

// Notification is what a notifier is told. It must not be changed.
type Notification struct {
	// Issuer is the issuer of the provider.
	Issuer string

	// URL is the page of the approval app on which the customer decides. Knowing
	// it gives no access: the customer has to sign in.
	URL string

	// Request is the request that waits. Its id is the same for each attempt.
	Request *provider.Request

	// User is the customer who is asked, without the hashes of passwords and
	// codes. Nil if the user store cannot say now.
	User *provider.User

	// Words are what a message can say, in the language of the customer: that of
	// the user's claim locale, or English.
	Words approval.Words

	// push sends to the browsers that the customer has subscribed; nil if no
	// config asks for it.
	push *webpush.Service
}

// notifyGrace is how long the end of the process waits for notifications.
const notifyGrace = 5 * time.Second

// namedNotifier is a notifier with the name by which it is configured.
type namedNotifier struct {
	Notifier
	name string
}

// notify hands the notification of a new request to the outbox.
func (in *instance) notify(ctx context.Context, request *provider.Request) {
	in.notices.Add(ctx, notice.Notice{Request: request.ID, Subject: request.Subject, Expires: request.ExpiresAt}, in.round(request))
}

// reopen says how a notification is tried again, if its request still waits.
func (in *instance) reopen(ctx context.Context, n notice.Notice) (notice.Round, bool, error) {
	request, err := in.provider.Request(ctx, n.Subject, n.Request)
	switch {
	case errors.Is(err, provider.ErrNotFound):
		return notice.Round{}, false, nil
	case err != nil:
		return notice.Round{}, false, err
	case request.State != provider.StatePending:
		return notice.Round{}, false, nil
	}
	return in.round(request), true, nil
}

// round are the notifiers of the config in use, with what they are to say.
func (in *instance) round(request *provider.Request) notice.Round {
	s := in.out.current.Load()
	r := notice.Round{UntilReached: s.untilReached}
	for i, notifier := range s.notifiers {
		r.Channels = append(r.Channels, notice.Channel{Key: s.notifierKey(i), Send: func(ctx context.Context) error {
			return notifier.try(ctx, s, in.notification(ctx, request))
		}})
	}
	return r
}

// notifierKey names a notifier among those of its config: by its name, and a number
// if it is not the first one of this name.
func (g guests) notifierKey(i int) string {
	name, number := g.notifiers[i].name, 1
	for _, before := range g.notifiers[:i] {
		if before.name == name {
			number++
		}
	}
	if number == 1 {
		return name
	}
	return name + " " + strconv.Itoa(number)
}

// notification is what a notifier is told of a request.
func (in *instance) notification(ctx context.Context, request *provider.Request) *Notification {
	n := &Notification{Issuer: in.issuer, URL: in.issuer + "/requests/" + request.ID, Request: request, push: in.push}
	locale := ""
	user, err := in.users.BySubject(ctx, request.Subject)
	if err == nil {
		n.User = withoutHashes(user)
		locale, _ = n.User.Claims["locale"].(string)
	}
	n.Words = in.approval.Words(request.ExpiresAt, locale)
	return n
}

// try calls the notifier, and takes a panic for an error.
func (n namedNotifier) try(ctx context.Context, s *sink, notification *Notification) (err error) {
	defer func() { err = permanentPanic(err) }()
	defer s.guard(notifierNamespace+"."+n.name, &err)
	return n.Notify(ctx, notification)
}

// notified counts and logs how an attempt at a notification has ended.
func (in *instance) notified(r notice.Report) {
	s := in.out.current.Load()
	collectors.notifications.WithLabelValues(in.issuer, s.notifierName(r.Channel), string(r.Outcome)).Inc()
	log := s.logger.With(zap.String("notifier", r.Channel), zap.String("request", r.Notice.Request),
		zap.String("subject", r.Notice.Subject), zap.Int("attempt", r.Attempt))
	switch r.Outcome {
	case notice.Failed:
		log.Error("the customer was not notified", zap.Error(r.Err))
	case notice.Retried:
		log.Warn("the customer was not notified yet; trying again", zap.Error(r.Err))
	case notice.Skipped:
		log.Debug("the customer cannot be notified this way", zap.Error(r.Err))
	default:
		log.Debug("the customer was notified")
	}
}

// notifierName is the name of a configured notifier by its key. A notifier of an
// earlier config, whose last attempt ends only now, is counted as other: labels
// come from the config alone.
func (g guests) notifierName(key string) string {
	for i := range g.notifiers {
		if g.notifierKey(i) == key {
			return g.notifiers[i].name
		}
	}
	return "other"
}

// withoutHashes returns the user without what passwords can be guessed with.
func withoutHashes(u *provider.User) *provider.User {
	clean := *u
	clean.PasswordHash, clean.UserCodeHash = "", ""
	return &clean
}
