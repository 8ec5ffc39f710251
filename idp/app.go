package idp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(App))
}

// appName is the name of the app that starts the providers of a config.
const appName = "ciba_idp"

// How long starting a provider may hold up the loading of a config, and how
// long it is left alone between further attempts.
const (
	startTimeout = 5 * time.Second
	minRetry     = time.Second
	maxRetry     = time.Minute
)

// App starts the providers that the ciba_idp handlers of the config describe:
// it opens their stores and makes the signing keys that are missing. It needs no
// config of its own, and exists wherever a handler does.
//
// A store that cannot be used because of its path is a mistake in the config,
// which is then refused. A store that cannot be reached now does not keep the
// rest of the server from running: the provider answers 503 and is started as
// soon as the store is there.
type App struct {
	logger    *zap.Logger
	instances map[string]entry

	cancel  context.CancelFunc
	undo    []func()
	retries sync.WaitGroup
}

// entry is an instance that handlers of the config use, and where it reports to
// while the config is in use.
type entry struct {
	*instance
	sink *sink
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appName,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision prepares the app for the handlers that add themselves to it.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	a.instances = make(map[string]entry)
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	return app.(*caddyevents.App).On(eventStopping, &streamEnder{app: a})
}

// add is called by each handler while the config is provisioned, which Caddy
// does in one goroutine. The handler keeps the instance from being closed for
// as long as the config is in use. Two providers of one config must not have
// the same issuer: clients could not tell which one answers.
func (a *App) add(key string, in *instance, s *sink) error {
	for other, e := range a.instances {
		if other != key && e.issuer == in.issuer {
			return fmt.Errorf("issuer '%s' is configured twice with different settings", in.issuer)
		}
	}
	a.instances[key] = entry{instance: in, sink: s}
	return nil
}

// Start opens stores and makes signing keys. From here on, the instances write
// to the log of this config.
func (a *App) Start() error {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	for _, e := range a.instances {
		a.undo = append(a.undo, e.out.use(e.sink))
		err := startOnce(ctx, e.instance)
		if err == nil {
			continue
		}
		var path *fs.PathError
		if errors.As(err, &path) {
			return errors.Join(fmt.Errorf("%s: %w", e.issuer, err), a.Stop())
		}
		a.logger.Error("the provider cannot start yet; trying again until it can", zap.String("issuer", e.issuer), zap.Error(err))
		a.retries.Go(func() { a.retry(ctx, e.instance) })
	}
	return nil
}

// Stop ends what Start began. Requests in progress go on. If this config was
// given up while an older one runs on, the instances write to the log of that
// one again.
func (a *App) Stop() error {
	a.cancel()
	a.retries.Wait()
	for _, undo := range a.undo {
		undo()
	}
	a.undo = nil
	a.endStreams()
	if caddy.Exiting() {
		a.awaitNotifications()
	}
	return nil
}

// awaitNotifications gives what is on its way a moment before the process ends.
// When a config is replaced, it goes on by itself.
func (a *App) awaitNotifications() {
	sent := make(chan struct{})
	go func() {
		for _, e := range a.instances {
			e.notices.Wait()
		}
		close(sent)
	}()
	select {
	case <-sent:
	case <-time.After(notifyGrace):
		a.logger.Warn("customers may not have been notified of all requests before the end")
	}
}

// retry starts an instance that could not be started before.
func (a *App) retry(ctx context.Context, in *instance) {
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := startOnce(ctx, in)
		if err == nil {
			a.logger.Info("the provider has started", zap.String("issuer", in.issuer))
			return
		}
		a.logger.Error("the provider still cannot start", zap.String("issuer", in.issuer), zap.Error(err))
	}
}

// startOnce starts an instance within a bounded time.
func startOnce(ctx context.Context, in *instance) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return in.start(ctx)
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
)
