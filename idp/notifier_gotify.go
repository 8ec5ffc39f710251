package idp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/notice"
)

func init() {
	caddy.RegisterModule(new(GotifyNotifier))
}

// GotifyNotifier posts a message to a Gotify server for each request that waits for a
// customer: that something waits, and until when. A tap on it opens the page on
// which the customer decides. What the request is about is not in it.
//
// All messages go to the one person whom the application at the Gotify server
// belongs to. That suits trials, and installations with one customer.
type GotifyNotifier struct {
	// The URL of the server, such as "https://gotify.example.com". It is https,
	// or plain http for a loopback host. Placeholders are resolved when the
	// config is loaded. Required.
	URL string `json:"url,omitempty"`

	// A placeholder, `{env.…}` or `{file.…}`, for the token of the application.
	// Required.
	Token string `json:"token,omitempty"`

	// How urgent the message is, as Gotify has it: from 1 to 10. Default: 8.
	Priority int `json:"priority,omitempty"`

	// The networks besides the public Internet that the URL may lead to, such as
	// "10.1.0.0/16". Addresses are checked when a connection is made. Default:
	// none.
	Networks []string `json:"networks,omitempty"`

	// The certificate authorities that the server is verified with: files in
	// PEM, read when the config is loaded. Placeholders are resolved. Default:
	// those of the system.
	CAFiles []string `json:"ca_files,omitempty"`

	target string
	token  string
	poster poster
}

// defaultGotifyPriority makes a phone ring.
const defaultGotifyPriority = 8

// CaddyModule returns the Caddy module information.
func (*GotifyNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  notifierNamespace + ".gotify",
		New: func() caddy.Module { return new(GotifyNotifier) },
	}
}

// Provision resolves the URL and the token. It connects to nothing.
func (g *GotifyNotifier) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	err := g.check()
	if err != nil {
		return err
	}
	if g.Priority == 0 {
		g.Priority = defaultGotifyPriority
	}
	server, err := resolveURL(repl, "gotify", g.URL)
	if err != nil {
		return err
	}
	g.target = strings.TrimSuffix(server, "/") + "/message"
	g.token, err = resolveToken(repl, "gotify token", g.Token)
	if err != nil {
		return err
	}
	g.poster, err = newPoster(repl, "gotify", g.Networks, g.CAFiles)
	return err
}

// Cleanup closes the connections that are not in use.
func (g *GotifyNotifier) Cleanup() error {
	g.poster.close()
	return nil
}

// check finds mistakes that can be found without resolving placeholders.
func (g *GotifyNotifier) check() error {
	err := checkConfiguredURL("gotify", g.URL)
	if err != nil {
		return err
	}
	switch {
	case strings.ContainsAny(g.URL, "?"):
		return errors.New("gotify URL must have no query; a token belongs into the option token")
	case g.Token == "":
		return errors.New("gotify has no token")
	case g.Priority < 0 || g.Priority > 10:
		return fmt.Errorf("gotify priority is %d, but must be from 1 to 10", g.Priority)
	}
	_, err = parseNetworks("gotify networks", g.Networks)
	if err != nil {
		return err
	}
	return checkToken("gotify token", g.Token)
}

// Notify implements [Notifier].
func (g *GotifyNotifier) Notify(ctx context.Context, n *Notification) error {
	body, err := json.Marshal(map[string]any{
		"title": n.Words.Title, "message": n.Words.Text + "\n" + n.Words.Until, "priority": g.Priority,
		"extras": map[string]any{"client::notification": map[string]any{"click": map[string]string{"url": n.URL}}},
	})
	if err != nil {
		return notice.Permanent(fmt.Errorf("encoding gotify message: %w", err))
	}
	return g.poster.post(ctx, g.target, http.Header{"Content-Type": {"application/json"}, "X-Gotify-Key": {g.token}}, body)
}

// Interface guards
var (
	_ caddy.Provisioner  = (*GotifyNotifier)(nil)
	_ caddy.CleanerUpper = (*GotifyNotifier)(nil)
	_ Notifier           = (*GotifyNotifier)(nil)
)
