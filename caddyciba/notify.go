package caddyciba

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// Below these paths, providers notify the gateway; the provider's name follows.
const (
	pingPath = "/.ciba/ping/"
	pushPath = "/.ciba/push/"
)

func init() {
	caddy.RegisterModule(Notify{})
}

// Notify takes the notifications of providers that tell of decisions by
// themselves: `POST /.ciba/ping/NAME` of a provider with `delivery` `ping`, and
// `POST /.ciba/push/NAME` of one with `push`, where NAME is the provider's name in
// the `ciba` app. The provider has to know this address, with scheme and host, as
// the client's notification endpoint.
//
// A notification has to show the token that the gateway has made for the very
// request. It is answered with 204, or with 401 if it does not; nothing of it goes
// anywhere else, and all other requests are passed on. The handler needs no other
// authentication and belongs in front of it; the Caddyfile's directive
// `ciba_notify` is put there.
//
// Where several nodes share a store, any of them may get the notification.
type Notify struct {
	// Providers are the names of the providers whose notifications are taken.
	// Default: all of the `ciba` app with `delivery` `ping` or `push`.
	Providers []string `json:"providers,omitempty"`

	logger *zap.Logger
	paths  map[string]*notified
}

// notified is a provider that notifies us.
type notified struct {
	pooled *pooledGate
	mode   ciba.Delivery
}

// CaddyModule returns the Caddy module information.
func (Notify) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ciba_notify",
		New: func() caddy.Module { return new(Notify) },
	}
}

// Provision takes a reference to the gate of each provider.
func (n *Notify) Provision(ctx caddy.Context) error {
	n.logger = ctx.Logger()
	n.paths = make(map[string]*notified)
	module, err := ctx.App("ciba")
	if err != nil {
		return err
	}
	app, ok := module.(*App)
	if !ok {
		return fmt.Errorf("app ciba is a %T", module)
	}
	if len(n.Providers) == 0 {
		n.Providers = app.notifying()
	}
	if len(n.Providers) == 0 {
		return errors.New("no provider has delivery ping or push")
	}
	for _, name := range n.Providers {
		err := n.add(ctx, app, name)
		if err != nil {
			return err
		}
	}
	return nil
}

// add opens the path of one provider.
func (n *Notify) add(ctx caddy.Context, app *App, name string) error {
	provider, err := app.provider(name, "")
	if err != nil {
		return err
	}
	mode := ciba.Delivery(provider.Delivery)
	var path string
	switch mode {
	case ciba.DeliveryPing:
		path = pingPath + name
	case ciba.DeliveryPush:
		path = pushPath + name
	default:
		return fmt.Errorf("provider %s has no delivery ping or push: there is nothing that it would notify", name)
	}
	pooled, err := app.acquire(ctx, provider)
	if err != nil {
		return err
	}
	n.paths[path] = &notified{pooled: pooled, mode: mode}
	app.notified[name] = true
	return nil
}

// isNotification reports whether a request goes where providers notify us.
func isNotification(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, pingPath) || strings.HasPrefix(r.URL.Path, pushPath)
}

// notifying names the providers that tell of decisions by themselves.
func (a *App) notifying() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a.Providers)) {
		switch ciba.Delivery(a.Providers[name].Delivery) {
		case ciba.DeliveryPing, ciba.DeliveryPush:
			names = append(names, name)
		}
	}
	return names
}

// warnUnnotified tells of providers whose notifications no site takes. Another
// node may take them, so that it is no error.
func (a *App) warnUnnotified() {
	for _, name := range a.notifying() {
		if !a.notified[name] {
			a.logger.Warn("no site takes the notifications of this provider; unless another node does, decisions are found late or, with push, never: add ciba_notify to a site",
				zap.String("provider", name), zap.String("delivery", a.Providers[name].Delivery))
		}
	}
}

// ServeHTTP takes notifications and passes everything else on.
func (n *Notify) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	// The path as it was sent: there is one spelling.
	from, ok := n.paths[r.URL.EscapedPath()]
	if !ok {
		return next.ServeHTTP(w, r)
	}
	g, err := from.pooled.hold()
	if err != nil {
		n.logger.Error("the gate cannot be set up", zap.Error(err))
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	defer func() { _ = from.pooled.release() }()
	var handler http.Handler
	if from.mode == ciba.DeliveryPush {
		handler = ciba.PushHandler(g.client, g.inbox)
	} else {
		handler = ciba.PingHandler(g.inbox)
	}
	recorder := &statusWriter{ResponseWriter: w}
	handler.ServeHTTP(recorder, r)
	collectors.notifications.WithLabelValues(g.issuer, string(from.mode), strconv.Itoa(recorder.status)).Inc()
	return nil
}

// Cleanup drops the references to the gates.
func (n *Notify) Cleanup() error {
	var failures []error
	for _, from := range n.paths {
		failures = append(failures, from.pooled.release())
	}
	return errors.Join(failures...)
}

// A statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the first final status.
func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 && status >= http.StatusOK {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach what this writer does not do.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Interface guards
var (
	_ caddy.Provisioner           = (*Notify)(nil)
	_ caddy.CleanerUpper          = (*Notify)(nil)
	_ caddyhttp.MiddlewareHandler = (*Notify)(nil)
)
