package caddyaudit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/store/audit"
)

// recorders are the logs of this process by their files. A configuration that takes
// the place of another one goes on in the same log.
var recorders = caddy.NewUsagePool()

// pooled is a recorder that ends with its last user.
type pooled struct {
	recorder *audit.Recorder
	release  func() error // what the keeper needs

	// log is that of the newest user: older ones may be closed.
	log atomic.Pointer[zap.Logger]
}

// Keep returns what a log needs of a store, and gives it back when the log is closed.
type Keep func() (keeper *audit.Keeper, release func() error, err error)

func newPooled(o Options, keep Keep) (*pooled, error) {
	keeper, release, err := keep()
	if err != nil {
		return nil, err
	}
	p := &pooled{release: release}
	file := zap.String("file", o.File)
	p.recorder = audit.NewRecorder(audit.RecorderConfig{
		Path: o.File, Node: o.Node, MaxSize: o.MaxSize, Keeper: keeper,
		Failed: func(err error) { p.log.Load().Error("audit log", file, zap.Error(err)) },
		Signed: func(c audit.Checkpoint) {
			p.log.Load().Info("audit log was signed", file, zap.Stringer("checkpoint", c))
		},
	})
	return p, nil
}

// Destruct implements caddy.Destructor.
func (p *pooled) Destruct() error {
	return errors.Join(p.recorder.Close(), p.release())
}

// A Handle is one user's way to a log. Release gives it back.
type Handle struct {
	key      string
	recorder *audit.Recorder
	log      *zap.Logger
	strict   bool
}

// Acquire returns a way to the log of the options. It neither opens the file nor uses
// the store; the first entry does. Users of one file share one log: of different
// options, those of the first user count. The logger takes each checkpoint at level
// INFO, and failures.
func Acquire(o *Options, keep Keep, logger *zap.Logger) (*Handle, error) {
	full, err := o.resolved()
	if err != nil {
		return nil, err
	}
	value, _, err := recorders.LoadOrNew(full.File, func() (caddy.Destructor, error) { return newPooled(full, keep) })
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	shared := value.(*pooled)
	shared.log.Store(logger)
	return &Handle{key: full.File, recorder: shared.recorder, log: logger, strict: full.OnFailure != Continue}, nil
}

// Write writes an entry, with durable onto the disk. With on_failure continue, a
// failure is logged and is no error.
func (h *Handle) Write(ctx context.Context, e audit.Entry, durable bool) error {
	err := h.recorder.Append(ctx, e, durable)
	if err == nil || h.strict {
		return err
	}
	h.log.Error("audit log does not take an entry, and all goes on, as on_failure says",
		zap.String("event", e.Event), zap.String("request", e.Request), zap.Error(err))
	return nil
}

// Note writes an entry about what has happened already. A failure is logged.
func (h *Handle) Note(ctx context.Context, e audit.Entry) {
	err := h.recorder.Append(ctx, e, false)
	if err != nil {
		h.log.Error("audit log does not take an entry", zap.String("event", e.Event), zap.String("request", e.Request), zap.Error(err))
	}
}

// Release gives the log back. The last user's release closes it.
func (h *Handle) Release() error {
	_, err := recorders.Delete(h.key)
	return err
}
