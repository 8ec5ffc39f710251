package idp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/notice"
)

func init() {
	caddy.RegisterModule(new(NtfyNotifier))
}

// NtfyNotifier publishes a message at an ntfy server for each request that waits for
// a customer: that something waits, and until when. A tap on it opens the page on
// which the customer decides. What the request is about is not in it.
//
// Whoever knows the name of a topic, and the server lets read it, reads its
// messages. Give each customer a topic of their own, with the option claim.
type NtfyNotifier struct {
	// The URL of the topic, such as "https://ntfy.example.com/approvals"; with
	// claim, the URL of the server. It is https, or plain http for a loopback
	// host. Placeholders are resolved when the config is loaded. Required.
	URL string `json:"url,omitempty"`

	// A placeholder, `{env.…}` or `{file.…}`, for the access token by which the
	// server lets us publish. Default: none.
	Token string `json:"token,omitempty"`

	// The claim of a customer that is the name of the customer's topic. A customer
	// without it is not notified this way. Default: none, and all messages go to
	// the one topic of the URL.
	Claim string `json:"claim,omitempty"`

	// How urgent the message is, as ntfy has it: from 1 to 5. Default: 4.
	Priority int `json:"priority,omitempty"`

	// The networks besides the public Internet that the URL may lead to, such as
	// "10.1.0.0/16". Addresses are checked when a connection is made. Default:
	// none.
	Networks []string `json:"networks,omitempty"`

	// The certificate authorities that the server is verified with: files in
	// PEM, read when the config is loaded. Placeholders are resolved. Default:
	// those of the system.
	CAFiles []string `json:"ca_files,omitempty"`

	server string // without the topic
	topic  string // empty if it is each customer's own
	token  string
	poster poster
}

// defaultNtfyPriority is "high": it makes a phone ring, and does not override that
// it is silenced.
const defaultNtfyPriority = 4

// CaddyModule returns the Caddy module information.
func (*NtfyNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  notifierNamespace + ".ntfy",
		New: func() caddy.Module { return new(NtfyNotifier) },
	}
}

// Provision resolves the URL and the token. It connects to nothing.
func (t *NtfyNotifier) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	err := t.check()
	if err != nil {
		return err
	}
	if t.Priority == 0 {
		t.Priority = defaultNtfyPriority
	}
	target, err := resolveURL(repl, "ntfy", t.URL)
	if err != nil {
		return err
	}
	t.server, t.topic, err = splitTopic(target, t.Claim == "")
	if err != nil {
		return err
	}
	t.token, err = resolveToken(repl, "ntfy token", t.Token)
	if err != nil {
		return err
	}
	t.poster, err = newPoster(repl, "ntfy", t.Networks, t.CAFiles)
	return err
}

// Cleanup closes the connections that are not in use.
func (t *NtfyNotifier) Cleanup() error {
	t.poster.close()
	return nil
}

// check finds mistakes that can be found without resolving placeholders.
func (t *NtfyNotifier) check() error {
	err := checkConfiguredURL("ntfy", t.URL)
	if err != nil {
		return err
	}
	if !strings.Contains(t.URL, "{") {
		_, _, err = splitTopic(t.URL, t.Claim == "")
		if err != nil {
			return err
		}
	}
	if t.Priority < 0 || t.Priority > 5 {
		return fmt.Errorf("ntfy priority is %d, but must be from 1 to 5", t.Priority)
	}
	_, err = parseNetworks("ntfy networks", t.Networks)
	if err != nil {
		return err
	}
	return checkToken("ntfy token", t.Token)
}

// splitTopic takes the topic off a URL, if there is one.
func splitTopic(raw string, hasTopic bool) (server, topic string, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.RawQuery != "" || u.ForceQuery {
		return "", "", errors.New("ntfy URL must be a plain https URL without a query")
	}
	if !hasTopic {
		return raw, "", nil
	}
	cut := strings.LastIndex(raw, "/")
	if u.Path == "" || !isTopic(raw[cut+1:]) {
		return "", "", errors.New("ntfy URL must end with a topic of up to 64 letters, digits, - and _; or set claim")
	}
	return raw[:cut+1], raw[cut+1:], nil
}

// isTopic reports whether ntfy takes s for the name of a topic.
func isTopic(s string) bool {
	strange := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, strange)
}

// Notify implements [Notifier].
func (t *NtfyNotifier) Notify(ctx context.Context, n *Notification) error {
	topic := t.topic
	if t.Claim != "" {
		if n.User == nil {
			return errNoUser
		}
		topic, _ = n.User.Claims[t.Claim].(string)
		if topic == "" {
			return notice.ErrNoAddress
		}
		if !isTopic(topic) {
			return notice.Permanent(errors.New("the customer's topic is none"))
		}
	}
	body, err := json.Marshal(map[string]any{
		"topic": topic, "title": n.Words.Title, "message": n.Words.Text + "\n" + n.Words.Until,
		"click": n.URL, "priority": t.Priority,
	})
	if err != nil {
		return notice.Permanent(fmt.Errorf("encoding ntfy message: %w", err))
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if t.token != "" {
		header.Set("Authorization", "Bearer "+t.token)
	}
	return t.poster.post(ctx, t.server, header, body)
}

// errNoUser says that the user store could not tell who the customer is. It may know
// the next time.
var errNoUser = errors.New("the customer could not be looked up")

// Interface guards
var (
	_ caddy.Provisioner  = (*NtfyNotifier)(nil)
	_ caddy.CleanerUpper = (*NtfyNotifier)(nil)
	_ Notifier           = (*NtfyNotifier)(nil)
)
