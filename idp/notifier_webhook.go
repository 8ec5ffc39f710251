package idp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

func init() {
	caddy.RegisterModule(new(WebhookNotifier))
}

// What the body of a webhook tells of a request.
const (
	contentReference = "reference"
	contentFull      = "full"
)

// How often one notification is tried, and how long after the first time it is
// tried again; the wait doubles.
const (
	webhookAttempts   = 3
	webhookFirstRetry = time.Second
	maxWebhookAnswer  = 4 << 10 // bytes that are read, so that the connection can be used again
)

// WebhookNotifier posts a JSON document to a URL for each request that waits for a
// customer, for example to a service that sends push messages.
//
// The document is `{"type": "ciba_idp_requested", "timestamp": …, "data": {…}}`.
// Its data have the members issuer, request (an id that is good for nothing but
// telling requests apart), client, client_name, subject, url (the page on which
// the customer decides), created_at and expires_at; with content full also
// binding_message, scopes and details. It is signed as Standard Webhooks 1.0
// describes: `webhook-id` is the same for each attempt, `webhook-timestamp` is in
// seconds, and `webhook-signature` has, for each secret, `v1,` and the HMAC-SHA256
// in base64 of id, timestamp and body, joined by dots.
//
// Any answer of the 200s is good. After faults of the network, 429 and the 500s it
// is tried again, three times in all. Redirects are not followed.
type WebhookNotifier struct {
	// The URL to post to. It is https, or plain http for a loopback host.
	// Placeholders are resolved when the config is loaded. Required.
	URL string `json:"url,omitempty"`

	// Placeholders, `{env.…}` or `{file.…}`, for the secrets that sign the
	// document: 24 bytes or more, as they are or in base64 behind whsec_.
	// During a change there are two, and a signature by each. Required.
	Secrets []string `json:"secrets,omitempty"`

	// What the document tells: "reference" says that a request waits and where,
	// "full" also what it is about, which not everybody who passes a message on
	// should know. Default: reference.
	Content string `json:"content,omitempty"`

	// The networks besides the public Internet that the URL may lead to, such as
	// "10.1.0.0/16". Addresses are checked when a connection is made. Default:
	// none.
	Networks []string `json:"networks,omitempty"`

	// The certificate authorities that the server is verified with: files in
	// PEM, read when the config is loaded. Placeholders are resolved. Default:
	// those of the system.
	CAFiles []string `json:"ca_files,omitempty"`

	target  string
	secrets [][]byte
	client  *http.Client
	now     func() time.Time
	retry   time.Duration
}

// CaddyModule returns the Caddy module information.
func (*WebhookNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  notifierNamespace + ".webhook",
		New: func() caddy.Module { return new(WebhookNotifier) },
	}
}

// Provision resolves the URL and the secrets. It connects to nothing.
func (w *WebhookNotifier) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	w.now, w.retry = time.Now, webhookFirstRetry
	err := w.check()
	if err != nil {
		return err
	}
	w.target, err = resolve(repl, "webhook URL", w.URL)
	if err != nil {
		return err
	}
	err = checkWebhookURL(w.target)
	if err != nil {
		return err
	}
	w.secrets = nil
	for _, configured := range w.Secrets {
		secret, err := webhookSecret(repl, configured)
		if err != nil {
			return err
		}
		w.secrets = append(w.secrets, secret)
	}
	networks, err := parseNetworks("webhook networks", w.Networks)
	if err != nil {
		return err
	}
	authorities, err := readCertificates(repl, "webhook ca", w.CAFiles)
	if err != nil {
		return err
	}
	pool, err := certPool(authorities)
	if err != nil {
		return err
	}
	w.client = provider.NewCallbackClient(networks, pool)
	return nil
}

// Cleanup closes the connections that are not in use.
func (w *WebhookNotifier) Cleanup() error {
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
	return nil
}

// check finds mistakes that can be found without resolving placeholders.
func (w *WebhookNotifier) check() error {
	switch {
	case w.URL == "":
		return errors.New("webhook has no URL")
	case len(w.Secrets) == 0:
		return errors.New("webhook has no secret; without one nobody can tell its messages from others; make one with: openssl rand -base64 32")
	}
	if !strings.Contains(w.URL, "{") {
		err := checkWebhookURL(w.URL)
		if err != nil {
			return err
		}
	}
	for _, secret := range w.Secrets {
		if !isReference(secret) {
			return errWebhookSecretLiteral
		}
	}
	_, err := parseNetworks("webhook networks", w.Networks)
	if err != nil {
		return err
	}
	return checkChoice("webhook content", w.Content, []string{contentReference, contentFull})
}

// checkWebhookURL refuses what messages must not be sent to. The URL is not in the
// error: it may have a secret in it.
func checkWebhookURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return errors.New("webhook URL must be a plain https URL")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return errors.New("webhook URL must be https; plain http is taken for loopback hosts only")
	}
	return nil
}

// Notify implements [Notifier].
func (w *WebhookNotifier) Notify(ctx context.Context, n *Notification) error {
	body, err := w.document(n)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		again, err := w.send(ctx, n.Request.ID, body)
		if err == nil || !again || attempt == webhookAttempts {
			return err
		}
		timer := time.NewTimer(w.retry << (attempt - 1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// send makes one attempt, and reports whether another one makes sense.
func (w *WebhookNotifier) send(ctx context.Context, id string, body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.target, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("making webhook request")
	}
	r.GetBody = nil // one POST for one attempt: the transport must not repeat it
	r.Header.Set("Content-Type", "application/json")
	sign(r.Header, w.secrets, id, w.now(), body)
	response, err := w.client.Do(r)
	if err != nil {
		return true, fmt.Errorf("posting webhook: %w", withoutURL(err))
	}
	defer response.Body.Close()
	// What it says is of no interest; how far it can be read does not matter.
	_, _ = io.CopyN(io.Discard, response.Body, maxWebhookAnswer)
	switch status := response.StatusCode; {
	case status >= 200 && status < 300:
		return false, nil
	default:
		again = status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
		return again, fmt.Errorf("webhook was answered with %d", status)
	}
}

// withoutURL takes the URL, in which there may be a secret, out of an error.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// document is the body of the webhook.
func (w *WebhookNotifier) document(n *Notification) ([]byte, error) {
	type data struct {
		Issuer         string          `json:"issuer"`
		Request        string          `json:"request"`
		Client         string          `json:"client"`
		ClientName     string          `json:"client_name"`
		Subject        string          `json:"subject"`
		URL            string          `json:"url"`
		CreatedAt      time.Time       `json:"created_at"`
		ExpiresAt      time.Time       `json:"expires_at"`
		BindingMessage string          `json:"binding_message,omitempty"`
		Scopes         []string        `json:"scopes,omitempty"`
		Details        json.RawMessage `json:"details,omitempty"`
	}
	d := data{
		Issuer: n.Issuer, Request: n.Request.ID, Client: n.Request.Client.ID, ClientName: n.Request.Client.Name,
		Subject: n.Request.Subject, URL: n.URL, CreatedAt: n.Request.CreatedAt.UTC(), ExpiresAt: n.Request.ExpiresAt.UTC(),
	}
	if w.Content == contentFull {
		d.BindingMessage, d.Details = n.Request.BindingMessage, n.Request.AuthorizationDetails
		for _, scope := range n.Request.Scopes {
			d.Scopes = append(d.Scopes, scope.Name)
		}
	}
	body, err := json.Marshal(map[string]any{"type": eventRequested, "timestamp": n.Request.CreatedAt.UTC(), "data": d})
	if err != nil {
		return nil, fmt.Errorf("encoding webhook: %w", err)
	}
	return body, nil
}

// Interface guards
var (
	_ caddy.Provisioner  = (*WebhookNotifier)(nil)
	_ caddy.CleanerUpper = (*WebhookNotifier)(nil)
	_ Notifier           = (*WebhookNotifier)(nil)
)
