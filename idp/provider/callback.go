package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
)

// maxNotificationToken bounds client_notification_token (CIBA Core 1.0 section
// 7.1), minNotificationToken is 128 bits in base64.
const (
	maxNotificationToken = 1024
	minNotificationToken = 22
)

var bearerForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// callbackState is what a request owes to a client that is to be called: a ping or
// a push. It lies in the record of the request, so that the decision and the debt
// are one write. It is gone when the debt is.
type callbackState struct {
	Push     bool            `json:"push,omitempty"` // else a ping
	Plain    *callbackSecret `json:"plain,omitempty"`
	Sealed   string          `json:"sealed,omitempty"`
	Attempts int             `json:"attempts,omitempty"`
	Next     int64           `json:"next,omitempty"` // Unix milliseconds

	// Failed says that no tokens can be made for an approved request.
	Failed bool `json:"failed,omitempty"`
}

// callbackSecret is what a call consists of. It is the one place where an
// auth_req_id and tokens are kept, encrypted if there is an encryption key.
type callbackSecret struct {
	AuthReqID string `json:"auth_req_id"`
	Token     string `json:"token"` // client_notification_token

	// Tokens are those to be pushed, once they were made.
	Tokens *tokenResponse `json:"tokens,omitempty"`
}

// isCalled reports whether the client waits to be called.
func (c *client) isCalled() bool {
	return c.DeliveryMode == DeliveryPing || c.DeliveryMode == DeliveryPush
}

// readNotificationToken checks client_notification_token, which ping and push
// clients must send and others may (CIBA checklist A9).
func readNotificationToken(c *client, value string) (string, error) {
	if !c.isCalled() {
		return "", nil
	}
	if len(value) < minNotificationToken || len(value) > maxNotificationToken || !bearerForm.MatchString(value) {
		return "", badRequest("client_notification_token is missing or malformed.")
	}
	return value, nil
}

func callbackPlace(id string) string { return kindRequest + "/" + id + "/callback" }

// withSecret returns a copy of the state that keeps the secret.
func (s callbackState) withSecret(p *Provider, id string, secret callbackSecret) (*callbackState, error) {
	s.Plain, s.Sealed = &secret, ""
	if p.sealer == nil {
		return &s, nil
	}
	data, err := json.Marshal(secret)
	if err != nil {
		return nil, fmt.Errorf("encoding callback: %w", err)
	}
	s.Plain = nil
	s.Sealed, err = p.sealer.seal(p.cfg.Rand, callbackPlace(id), data)
	if err != nil {
		return nil, fmt.Errorf("sealing callback: %w", err)
	}
	return &s, nil
}

func (p *Provider) openCallback(h *heldRequest) (*callbackSecret, error) {
	if h.Callback.Plain != nil {
		return h.Callback.Plain, nil
	}
	data, err := p.sealer.open(callbackPlace(h.id), h.Callback.Sealed)
	if err != nil {
		return nil, err
	}
	var secret callbackSecret
	err = json.Unmarshal(data, &secret)
	if err != nil {
		return nil, fmt.Errorf("decoding callback: %w", err)
	}
	return &secret, nil
}

// owesCallback reports whether the client is still to be called.
func (r *requestRecord) owesCallback() bool {
	return r.Callback != nil && r.State != StatePending
}

// sent is how a call has ended.
type sent int

const (
	sentDone    sent = iota // the client has it
	sentAgain               // it makes sense to try again
	sentRefused             // it does not
)

// post calls a client once, with v as JSON (CIBA Core 1.0 sections 10.2 and 10.3).
// Trying again makes sense after faults of the network and of the server. A client
// that answers with a redirect, or that does not know its own token, is left alone
// (CIBA checklist P2 to P4, X1). What it says besides is of no interest.
func (p *Provider) post(ctx context.Context, c *client, token string, v any) (sent, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return sentRefused, fmt.Errorf("encoding callback: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callbackTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.NotificationEndpoint, bytes.NewReader(body))
	if err != nil {
		return sentRefused, fmt.Errorf("making callback: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	r.GetBody = nil // one POST for one attempt: the transport must not repeat it
	response, err := p.callbacks.Do(r)
	if err != nil {
		return sentAgain, fmt.Errorf("calling client: %w", err)
	}
	// The client has answered, so an error in taking leave changes nothing.
	_ = response.Body.Close()
	status := response.StatusCode
	switch {
	case status == http.StatusNoContent || status == http.StatusOK:
		return sentDone, nil
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return sentAgain, fmt.Errorf("client answered %d", status)
	}
	return sentRefused, fmt.Errorf("client answered %d", status)
}
