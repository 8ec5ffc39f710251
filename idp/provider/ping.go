package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// maxNotificationToken bounds client_notification_token (CIBA Core 1.0 section
// 7.1), minNotificationToken is 128 bits in base64.
const (
	maxNotificationToken = 1024
	minNotificationToken = 22
)

var bearerForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// Retrying of pings.
const (
	pingAttempts   = 8
	pingFirstRetry = time.Second
	pingLastRetry  = 30 * time.Second
)

// pingState is the ping that a request owes to its client. It lies in the record
// of the request, so that the decision and the debt are one write.
type pingState struct {
	Plain    *pingSecret `json:"plain,omitempty"`
	Sealed   string      `json:"sealed,omitempty"`
	Attempts int         `json:"attempts,omitempty"`
	Next     int64       `json:"next,omitempty"` // Unix milliseconds
}

// pingSecret is what a ping consists of. It is the one place where an auth_req_id
// is kept, encrypted if there is an encryption key.
type pingSecret struct {
	AuthReqID string `json:"auth_req_id"`
	Token     string `json:"token"`
}

// readNotificationToken checks client_notification_token, which ping clients must
// send and others may (CIBA checklist A9).
func readNotificationToken(c *client, value string) (string, error) {
	if c.DeliveryMode != DeliveryPing {
		return "", nil
	}
	if len(value) < minNotificationToken || len(value) > maxNotificationToken || !bearerForm.MatchString(value) {
		return "", badRequest("client_notification_token is missing or malformed.")
	}
	return value, nil
}

func pingPlace(id string) string { return kindRequest + "/" + id + "/ping" }

// newPing returns the state to keep for a ping.
func (p *Provider) newPing(id string, secret pingSecret) (*pingState, error) {
	if p.sealer == nil {
		return &pingState{Plain: &secret}, nil
	}
	data, err := json.Marshal(secret)
	if err != nil {
		return nil, fmt.Errorf("encoding ping: %w", err)
	}
	sealed, err := p.sealer.seal(p.cfg.Rand, pingPlace(id), data)
	if err != nil {
		return nil, fmt.Errorf("sealing ping: %w", err)
	}
	return &pingState{Sealed: sealed}, nil
}

func (p *Provider) openPing(h *heldRequest) (*pingSecret, error) {
	if h.Ping.Plain != nil {
		return h.Ping.Plain, nil
	}
	data, err := p.sealer.open(pingPlace(h.id), h.Ping.Sealed)
	if err != nil {
		return nil, err
	}
	var secret pingSecret
	err = json.Unmarshal(data, &secret)
	if err != nil {
		return nil, fmt.Errorf("decoding ping: %w", err)
	}
	return &secret, nil
}

// owesPing reports whether the client is still to be told of the decision.
func (r *requestRecord) owesPing() bool {
	return r.Ping != nil && (r.State == StateApproved || r.State == StateDenied)
}

// deliver tries once to send the ping of a request. It claims the attempt by a
// conditional write first, so that of several nodes one sends. Nothing that goes
// wrong here has an influence on the decision (CIBA checklist P6).
func (p *Provider) deliver(ctx context.Context, h *heldRequest) error {
	c := p.clients[h.Client]
	attempt := h.Ping.Attempts + 1
	wait := min(pingFirstRetry<<(attempt-1), pingLastRetry)
	err := p.move(ctx, h, h.State, func(r *requestRecord) {
		next := *r.Ping
		next.Attempts = attempt
		next.Next = p.now().Add(callbackTimeout + wait).UnixMilli()
		r.Ping = &next
	})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil // another node sends it, or the client has come by itself
	}
	if err != nil {
		return err
	}
	again := false
	wanted := c != nil && !c.Disabled && c.DeliveryMode == DeliveryPing
	if wanted && p.now().Before(h.expires()) {
		again, err = p.sendPing(ctx, c, h)
	}
	p.log.Info("ping sent", zap.String("request", h.id), zap.String("client", h.Client),
		zap.Int("attempt", attempt), zap.Bool("again", again), zap.NamedError("cause", err))
	if again && attempt < pingAttempts {
		return nil // Next says when
	}
	err = p.move(ctx, h, h.State, func(r *requestRecord) { r.Ping = nil })
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// sendPing posts one ping (CIBA Core 1.0 section 10.2) and reports whether it
// makes sense to try again: after faults of the network and of the server it does.
// A client that answers with a redirect or that does not know its own token is
// left alone (CIBA checklist P2 to P4).
func (p *Provider) sendPing(ctx context.Context, c *client, h *heldRequest) (bool, error) {
	secret, err := p.openPing(h)
	if err != nil {
		return false, err
	}
	body, err := json.Marshal(map[string]string{"auth_req_id": secret.AuthReqID})
	if err != nil {
		return false, fmt.Errorf("encoding ping: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callbackTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.NotificationEndpoint, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("making ping: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+secret.Token)
	r.GetBody = nil // one POST for one attempt: the transport must not repeat it
	response, err := p.callbacks.Do(r)
	if err != nil {
		return true, fmt.Errorf("sending ping: %w", err)
	}
	err = response.Body.Close() // whatever it says is of no interest
	if err != nil {
		return false, fmt.Errorf("closing answer: %w", err)
	}
	status := response.StatusCode
	if status == http.StatusTooManyRequests || status >= http.StatusInternalServerError {
		return true, fmt.Errorf("client answered %d", status)
	}
	if status != http.StatusNoContent && status != http.StatusOK {
		return false, fmt.Errorf("client answered %d", status)
	}
	return false, nil
}
