package idp

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/provider"
)

// receiver is a server of webhooks that answers with a status.
type receiver struct {
	*httptest.Server
	status   atomic.Int64
	received chan hook
}

// hook is what a receiver got.
type hook struct {
	header http.Header
	path   string
	body   string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{received: make(chan hook, 10)}
	r.status.Store(http.StatusNoContent)
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil || q.Method != http.MethodPost {
			t.Errorf("received %s, %v", q.Method, err)
		}
		r.received <- hook{q.Header, q.URL.Path, string(body)}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(r.status.Load()))
	}))
	t.Cleanup(r.Close)
	return r
}

// newWebhook provisions a webhook that posts to the receiver.
func newWebhook(t *testing.T, r *receiver, change func(*WebhookNotifier)) (*WebhookNotifier, error) {
	t.Helper()
	t.Setenv("IDP_TEST_HOOK", "a secret of the webhook, long enough")
	t.Setenv("IDP_TEST_HOOK_NEXT", "whsec_"+base64.StdEncoding.EncodeToString([]byte("another secret of the webhook")))
	t.Setenv("IDP_TEST_HOOK_SHORT", "short")
	w := &WebhookNotifier{
		URL:      r.URL + "/hook?token=in-the-url",
		Secrets:  []string{"{env.IDP_TEST_HOOK}", "{env.IDP_TEST_HOOK_NEXT}"},
		Networks: []string{"127.0.0.0/8", "::1"},
		CAFiles:  []string{r.caFile(t)},
	}
	if change != nil {
		change(w)
	}
	err := w.Provision(caddy.Context{})
	w.now = func() time.Time { return time.Unix(1767225600, 0) }
	t.Cleanup(func() {
		err := w.Cleanup()
		if err != nil {
			t.Error(err)
		}
	})
	return w, err
}

// waiting is a notification like those of a provider.
func waiting() *Notification {
	return &Notification{
		Issuer: "https://id.example.com", URL: "https://id.example.com/requests/r1",
		Request: &provider.Request{
			ID: "r1", Subject: "anna", Client: provider.ClientInfo{ID: "gateway", Name: "Example Bank"},
			BindingMessage: "Pay 10 EUR", Scopes: []provider.Scope{{Name: "openid"}, {Name: "transfers"}},
			AuthorizationDetails: json.RawMessage(`[{"type":"http_request"}]`),
			CreatedAt:            time.Unix(1767225590, 0), ExpiresAt: time.Unix(1767225890, 0),
		},
		Words: approval.Words{Language: "de", Brand: "Bank", Title: "Etwas wartet", Text: "Bei Bank wartet etwas.", Until: "Bis 12:04.", Open: "Öffnen", Care: "Vorsicht."},
	}
}

// The signatures were computed with openssl:
//
//	printf %s "r1.1767225600.$BODY" | openssl dgst -sha256 -hmac "$SECRET" -binary | base64
func TestWebhook(t *testing.T) {
	const reference = `{"data":{"issuer":"https://id.example.com","request":"r1","client":"gateway","client_name":"Example Bank",` +
		`"subject":"anna","url":"https://id.example.com/requests/r1","created_at":"2025-12-31T23:59:50Z","expires_at":"2026-01-01T00:04:50Z"`
	const rest = `},"timestamp":"2025-12-31T23:59:50Z","type":"ciba_idp_requested"}`
	for content, test := range map[string]struct{ body, signatures string }{
		"":     {reference + rest, "v1,63Iw2WJBnakfihj40X2H9zgw+M3NRU6CmamMnmjUKeM= v1,fF4/0or1CSLibigfnmg8dZU157ppB6oqfUzsYeAhI98="},
		"full": {reference + `,"binding_message":"Pay 10 EUR","scopes":["openid","transfers"],"details":[{"type":"http_request"}]` + rest, "v1,pMTyqMgymrz+hV/oYhOP+ook27wpNgWYqL/NtDH3n+Y= v1,1e1yosg68m/gcG9g9k0/HiMzvFP6eGnYBxp29vLWT7o="},
	} {
		r := newReceiver(t)
		w, err := newWebhook(t, r, func(w *WebhookNotifier) { w.Content = content })
		if err != nil {
			t.Fatal(err)
		}
		err = w.Notify(t.Context(), waiting())
		if err != nil {
			t.Fatal(err)
		}
		got := <-r.received
		if got.body != test.body {
			t.Errorf("content %q: got\n%s\nwant\n%s", content, got.body, test.body)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json", "Webhook-Id": "r1", "Webhook-Timestamp": "1767225600", "Webhook-Signature": test.signatures,
		} {
			if got.header.Get(name) != want {
				t.Errorf("content %q: %s is %s, want %s", content, name, got.header.Get(name), want)
			}
		}
	}
}

// Faults that pass are worth another attempt, others are not, and no redirect is
// followed.
func TestWebhookAnswers(t *testing.T) {
	for status, final := range map[int]bool{200: false, 204: false, 302: true, 307: true, 400: true, 401: true, 410: true, 429: false, 500: false, 503: false} {
		r := newReceiver(t)
		r.status.Store(int64(status))
		w, err := newWebhook(t, r, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = w.Notify(t.Context(), waiting())
		if (err == nil) != (status < 300) {
			t.Errorf("%d: %v", status, err)
		}
		if notice.IsPermanent(err) != final {
			t.Errorf("%d: %v is permanent: %t, want %t", status, err, !final, final)
		}
		if len(r.received) != 1 {
			t.Errorf("%d: received %d times, want once", status, len(r.received))
		}
	}
}

// Webhooks stay out of closed networks (threats.md no. 14), trust only whom they
// are told to, and tell no secret when they fail.
func TestWebhookRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*WebhookNotifier)
		want   string
	}{
		"closed network":  {func(w *WebhookNotifier) { w.Networks = nil }, "closed network"},
		"other authority": {func(w *WebhookNotifier) { w.CAFiles = nil }, "certificate"},
		"nobody there":    {func(w *WebhookNotifier) { w.URL = "http://127.0.0.1:1/?token=in-the-url" }, "refused"},
	} {
		r := newReceiver(t)
		r.Config.ErrorLog = nil
		w, err := newWebhook(t, r, test.change)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = w.Notify(t.Context(), waiting())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "in-the-url") {
			t.Errorf("%s: the error repeats the URL: %v", name, err)
		}
		if len(r.received) != 0 {
			t.Errorf("%s: something was sent", name)
		}
	}
}

func TestWebhookMistakes(t *testing.T) {
	for want, change := range map[string]func(*WebhookNotifier){
		"has no URL":                     func(w *WebhookNotifier) { w.URL = "" },
		"must be https":                  func(w *WebhookNotifier) { w.URL = "http://push.example.com" },
		"plain https URL":                func(w *WebhookNotifier) { w.URL = "https://user:secret@push.example.com" },
		"resolving webhook URL":          func(w *WebhookNotifier) { w.URL = "{env.NONE}" },
		"has no secret":                  func(w *WebhookNotifier) { w.Secrets = nil },
		"must be a placeholder":          func(w *WebhookNotifier) { w.Secrets = []string{"a secret that is written out"} },
		"of at least 24 bytes":           func(w *WebhookNotifier) { w.Secrets = []string{"{env.IDP_TEST_HOOK_SHORT}"} },
		"{env.NONE} stands for":          func(w *WebhookNotifier) { w.Secrets = []string{"{env.NONE}"} },
		"content 'everything'":           func(w *WebhookNotifier) { w.Content = "everything" },
		"neither a network":              func(w *WebhookNotifier) { w.Networks = []string{"here"} },
		"reading webhook ca: open /none": func(w *WebhookNotifier) { w.CAFiles = []string{"/none"} },
	} {
		_, err := newWebhook(t, newReceiver(t), change)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "written out") || strings.Contains(err.Error(), "user:secret")) {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
}
