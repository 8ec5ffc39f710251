package caddyciba

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A followingCore writes to the log of the newest configuration. A gate
// outlives configurations, and the files that an old one logged to are closed
// when it is replaced.
type followingCore struct {
	gate   *gate
	fields []zapcore.Field
}

// logger writes to the log of the newest configuration.
func (g *gate) logger() *zap.Logger { return zap.New(followingCore{gate: g}) }

// current is the core of the newest configuration with our own fields.
func (c followingCore) current() zapcore.Core {
	core := c.gate.reports.Load().logger.Core()
	if len(c.fields) == 0 {
		return core
	}
	return core.With(c.fields)
}

// Enabled implements zapcore.Core.
func (c followingCore) Enabled(level zapcore.Level) bool {
	return c.gate.reports.Load().logger.Core().Enabled(level)
}

// With implements zapcore.Core.
func (c followingCore) With(fields []zapcore.Field) zapcore.Core {
	all := make([]zapcore.Field, 0, len(c.fields)+len(fields))
	return followingCore{gate: c.gate, fields: append(append(all, c.fields...), fields...)}
}

// Check implements zapcore.Core.
func (c followingCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core. The core of the configuration decides by its
// own rules whether and where the entry goes.
func (c followingCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	entry.LoggerName = c.gate.reports.Load().logger.Name()
	checked := c.current().Check(entry, nil)
	if checked != nil {
		checked.Write(fields...)
	}
	return nil
}

// Sync implements zapcore.Core.
func (c followingCore) Sync() error {
	return c.current().Sync()
}

// Interface guard
var _ zapcore.Core = followingCore{}
