package idp

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// eventStopping is emitted by Caddy before it stops the apps of a config, whether
// the process ends or another config takes over.
const eventStopping = "stopping"

// streamEnder ends the streams of events that the pages of the approval app keep
// open. Without it, a server that stops would wait for them. The pages open new
// ones by themselves, on the servers of the next config if there is one.
type streamEnder struct {
	app *App
}

// Handle implements caddyevents.Handler.
func (e *streamEnder) Handle(context.Context, caddy.Event) error {
	e.app.endStreams()
	return nil
}

// endStreams ends the streams of all providers of the config.
func (a *App) endStreams() {
	for _, e := range a.instances {
		e.approval.EndStreams()
	}
}

// Interface guard
var _ caddyevents.Handler = (*streamEnder)(nil)
