package idp

import (
	"fmt"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// outlet leads from an instance, which outlives configs, to the log and the
// event handlers of the config in use: Caddy closes the log files of a config
// that it has replaced, and no longer calls its event handlers.
type outlet struct {
	current atomic.Pointer[sink]
}

// sink is the log, the events app and the guest modules of one config.
type sink struct {
	logger *zap.Logger
	events *caddyevents.App

	// ctx is the context of the config, which an event must be emitted with
	// and which says where the event comes from.
	ctx caddy.Context

	// guests are the modules by which the config extends the provider.
	guests
}

// newSink returns the log and the events app of the config in ctx.
func newSink(ctx caddy.Context) (*sink, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	events, ok := app.(*caddyevents.App)
	if !ok {
		return nil, fmt.Errorf("events app is %T", app)
	}
	return &sink{logger: ctx.Logger(), events: events, ctx: ctx}, nil
}

// newOutlet leads to the given sink.
func newOutlet(s *sink) *outlet {
	o := new(outlet)
	o.current.Store(s)
	return o
}

// use leads to another sink from now on. The returned function leads back to
// the one before, unless a third came in between.
func (o *outlet) use(s *sink) (undo func()) {
	before := o.current.Swap(s)
	return func() { o.current.CompareAndSwap(s, before) }
}

// emit tells the event handlers of the config in use. The data is made only if
// somebody listens.
func (o *outlet) emit(event string, data func() map[string]any) {
	s := o.current.Load()
	if s.events.ShouldEmit(event) {
		s.events.Emit(s.ctx, event, data())
	}
}

// logger returns a logger that always writes to the log of the config in use.
func (o *outlet) logger() *zap.Logger {
	return zap.New(relay{outlet: o}).Named(string(Handler{}.CaddyModule().ID))
}

// relay is the core of a logger whose entries go to the outlet's current
// logger, with the fields that were added on the way.
type relay struct {
	outlet *outlet
	fields []zapcore.Field
}

func (r relay) core() zapcore.Core {
	return r.outlet.current.Load().logger.Core()
}

// Enabled implements zapcore.LevelEnabler.
func (r relay) Enabled(level zapcore.Level) bool {
	return r.core().Enabled(level)
}

// With implements zapcore.Core.
func (r relay) With(fields []zapcore.Field) zapcore.Core {
	// A full slice expression, so that two children do not share what follows.
	return relay{outlet: r.outlet, fields: append(r.fields[:len(r.fields):len(r.fields)], fields...)}
}

// Check implements zapcore.Core.
func (r relay) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !r.Enabled(entry.Level) {
		return checked
	}
	return checked.AddCore(entry, r)
}

// Write implements zapcore.Core. It asks the current core again, because only
// that one knows which of its parts take the entry.
func (r relay) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	accepted := r.core().With(r.fields).Check(entry, nil)
	if accepted != nil {
		accepted.Write(fields...)
	}
	return nil
}

// Sync implements zapcore.Core.
func (r relay) Sync() error {
	return r.core().Sync()
}

// Interface guard
var _ zapcore.Core = relay{}
