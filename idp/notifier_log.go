package idp

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(LogNotifier))
}

// LogNotifier writes one line to the log for each request that waits for a
// customer, with the address of the page on which the customer decides. It is for
// trials, and for installations in which something else reads the log. What the
// request is about is not in it.
type LogNotifier struct {
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*LogNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  notifierNamespace + ".log",
		New: func() caddy.Module { return new(LogNotifier) },
	}
}

// Provision sets up the notifier.
func (l *LogNotifier) Provision(ctx caddy.Context) error {
	l.logger = ctx.Logger()
	return nil
}

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	log
func (l *LogNotifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume notifier name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		return d.Errf("unrecognized subdirective '%s'", d.Val())
	}
	return nil
}

// Notify implements [Notifier].
func (l *LogNotifier) Notify(_ context.Context, n *Notification) error {
	l.logger.Info("a request waits for its customer",
		zap.String("issuer", n.Issuer), zap.String("request", n.Request.ID), zap.String("client", n.Request.Client.ID),
		zap.String("subject", n.Request.Subject), zap.String("url", n.URL), zap.Time("expires", n.Request.ExpiresAt))
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LogNotifier)(nil)
	_ caddyfile.Unmarshaler = (*LogNotifier)(nil)
	_ Notifier              = (*LogNotifier)(nil)
)
