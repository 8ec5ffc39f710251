package idp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/notice"
)

func init() {
	caddy.RegisterModule(new(WebhookNotifier))
}

// What the body of a webhook tells of a request.
const (
	contentReference = "reference"
	contentFull      = "full"
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
// is tried again, five times in all and for as long as the request waits. A receiver
// checks the signature, refuses a timestamp that is more than five minutes away, and
// remembers ids for as long, so that nothing can be replayed. Redirects are not
// followed.
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
	poster  poster
	now     func() time.Time
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
	w.now = time.Now
	err := w.check()
	if err != nil {
		return err
	}
	w.target, err = resolveURL(repl, "webhook", w.URL)
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
	w.poster, err = newPoster(repl, "webhook", w.Networks, w.CAFiles)
	return err
}

// Cleanup closes the connections that are not in use.
func (w *WebhookNotifier) Cleanup() error {
	w.poster.close()
	return nil
}

// check finds mistakes that can be found without resolving placeholders.
func (w *WebhookNotifier) check() error {
	err := checkConfiguredURL("webhook", w.URL)
	if err != nil {
		return err
	}
	if len(w.Secrets) == 0 {
		return errors.New("webhook has no secret; without one nobody can tell its messages from others; make one with: openssl rand -base64 32")
	}
	for _, secret := range w.Secrets {
		if !isReference(secret) {
			return errWebhookSecretLiteral
		}
	}
	_, err = parseNetworks("webhook networks", w.Networks)
	if err != nil {
		return err
	}
	return checkChoice("webhook content", w.Content, []string{contentReference, contentFull})
}

// Notify implements [Notifier].
func (w *WebhookNotifier) Notify(ctx context.Context, n *Notification) error {
	body, err := w.document(n)
	if err != nil {
		return notice.Permanent(err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	sign(header, w.secrets, n.Request.ID, w.now(), body)
	return w.poster.post(ctx, w.target, header, body)
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
