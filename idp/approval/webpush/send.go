package webpush

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval/notice"
)

// payload is all that a message says. The app's service worker has the words.
const payload = `{"waiting":true}`

// topic makes a message take the place of one that a device has not seen yet.
const topic = "waiting"

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 4 << 10

// errGone says that a push service no longer knows a subscription.
var errGone = errors.New("the subscription has ended")

// Send tells a customer on all devices that something waits until the given time. It
// returns nil if one device was reached, notice.ErrNoAddress if there is none, and
// an error as the package notice describes if none was reached. Subscriptions that
// have ended are removed.
func (s *Service) Send(ctx context.Context, subject string, expires time.Time) error {
	all, err := s.load(ctx, subject)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return notice.ErrNoAddress
	}
	key, err := s.operatorKey(ctx)
	if err != nil {
		return err
	}
	results := make([]error, len(all))
	var calls sync.WaitGroup
	for i, e := range all {
		calls.Go(func() { results[i] = s.sendTo(ctx, key, e, expires) })
	}
	calls.Wait()
	return summary(results)
}

// summary is what the results for all devices come to.
func summary(results []error) error {
	var failed, permanent error
	for _, err := range results {
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errGone):
		case notice.IsPermanent(err):
			permanent = err
		default:
			failed = err
		}
	}
	switch {
	case failed != nil:
		return failed
	case permanent != nil:
		return permanent
	}
	return notice.ErrNoAddress
}

// sendTo sends to one device. The address of the subscription is in no error.
func (s *Service) sendTo(ctx context.Context, key *operatorKey, e entry, expires time.Time) error {
	raw, err := s.cfg.Sealer.Open(place(kind, e.record.ID), e.Sealed)
	if err != nil {
		return notice.Permanent(fmt.Errorf("opening subscription: %w", err))
	}
	var sub Subscription
	err = json.Unmarshal(raw, &sub)
	if err != nil {
		return notice.Permanent(fmt.Errorf("decoding subscription: %w", err))
	}
	r, err := s.request(ctx, key, sub, expires)
	if err != nil {
		return notice.Permanent(err)
	}
	err = s.post(r)
	log := s.cfg.Logger.With(zap.String("subject", e.Subject), zap.String("service", r.URL.Host))
	switch {
	case errors.Is(err, errGone):
		log.Info("a subscription to push messages has ended")
		forgetErr := s.forget(ctx, e)
		if forgetErr != nil {
			log.Error("removing a subscription that has ended", zap.Error(forgetErr))
		}
	case err != nil:
		log.Warn("a push service has not taken a message", zap.Error(err))
	}
	return err
}

// request makes the request of one message.
func (s *Service) request(ctx context.Context, key *operatorKey, sub Subscription, expires time.Time) (*http.Request, error) {
	endpoint, err := url.Parse(sub.Endpoint)
	if err != nil {
		return nil, errors.New("the subscription has no address")
	}
	to, err := ecdh.P256().NewPublicKey(sub.P256DH)
	if err != nil {
		return nil, fmt.Errorf("decoding the key of the subscription: %w", err)
	}
	once, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	salt := make([]byte, saltSize)
	_, err = io.ReadFull(s.cfg.Rand, salt)
	if err != nil {
		return nil, fmt.Errorf("drawing salt: %w", err)
	}
	body, err := encrypt(to, sub.Auth, once, salt, []byte(payload))
	if err != nil {
		return nil, err
	}
	authorization, err := key.authorization(endpoint, s.cfg.Contact, s.cfg.Now())
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, sub.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the subscription has no address")
	}
	r.GetBody = nil // one POST for one attempt: the transport must not repeat it
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Content-Encoding", "aes128gcm")
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("TTL", strconv.FormatInt(max(0, int64(expires.Sub(s.cfg.Now())/time.Second)), 10))
	r.Header.Set("Topic", topic)
	r.Header.Set("Urgency", "high")
	return r, nil
}

// post sends a request, and says what its answer means (RFC 8030 section 5).
func (s *Service) post(r *http.Request) error {
	response, err := s.cfg.Client.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("posting to the push service: %w", err)
	}
	defer response.Body.Close()
	// What it says is of no interest; how far it can be read does not matter.
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	status := response.StatusCode
	err = fmt.Errorf("the push service has answered with %d", status)
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusNotFound || status == http.StatusGone:
		return errGone
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return err
	}
	return notice.Permanent(err)
}
