package caddyciba

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// drainTimeout bounds how long Caddy is kept from stopping for the sake of
	// requests that wait for approval: their prompts are withdrawn meanwhile.
	drainTimeout = 5 * time.Second

	// sentTimeout bounds the wait for requests that are being sent where the HTTP
	// app has no grace period.
	sentTimeout = time.Minute
)

// stopping reports whether Caddy is about to stop, and not to run another
// configuration: the process exits, or no configuration is active any more.
func stopping() bool {
	return caddy.Exiting() || caddy.ActiveContext().Context == nil
}

// drainWhenStopping drains all gates when Caddy stops. It has to come before the
// apps are stopped: a provider that this Caddy serves must still be there to
// withdraw prompts, and the HTTP app waits for held requests.
func (a *App) drainWhenStopping() error {
	err := a.reports.events.On("stopping", drainer{logger: a.logger})
	if err != nil {
		return fmt.Errorf("subscribing to the event stopping: %w", err)
	}
	return nil
}

// A drainer handles the event by which Caddy says that a configuration stops.
type drainer struct{ logger *zap.Logger }

// Handle implements caddyevents.Handler. At a reload it does nothing.
func (d drainer) Handle(context.Context, caddy.Event) error {
	if !stopping() {
		return nil
	}
	err := eachGate(drainTimeout, func(ctx context.Context, g *gate) error { return g.engine.Drain(ctx) })
	if err != nil {
		d.logger.Warn("requests were still waiting for approval when Caddy stopped", zap.Error(err))
	}
	err = eachGate(drainTimeout, leave)
	if err != nil {
		d.logger.Warn("other nodes could not be told that this one stops", zap.Error(err))
	}
	return nil
}

// leave lets other nodes take up at once what this one has left.
func leave(ctx context.Context, g *gate) error {
	if !g.beat.begun() {
		return nil
	}
	return g.engine.Journal().Leave(ctx)
}

// awaitSent waits until no gate serves a request, for as long as the HTTP app
// would.
func (a *App) awaitSent() error {
	grace := sentTimeout
	module, err := a.ctx.AppIfConfigured("http")
	if err == nil {
		server, ok := module.(*caddyhttp.App)
		if ok && server.GracePeriod > 0 {
			grace = time.Duration(server.GracePeriod)
		}
	}
	return eachGate(grace, func(ctx context.Context, g *gate) error { return g.engine.Idle(ctx) })
}

// eachGate does something with all gates of this process at once, also with
// those that only held requests of earlier configurations still use.
func eachGate(timeout time.Duration, do func(context.Context, *gate) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var all []*gate
	gates.Range(func(_, value any) bool {
		all = append(all, value.(*gate))
		return true
	})
	failures := make([]error, len(all))
	var done sync.WaitGroup
	for i, g := range all {
		done.Go(func() { failures[i] = do(ctx, g) })
	}
	done.Wait()
	return errors.Join(failures...)
}
