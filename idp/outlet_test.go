package idp

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// The logger of an instance writes to the log of the config in use, with that
// log's level, and with the fields and the name of its own.
func TestOutlet(t *testing.T) {
	firstCore, first := observer.New(zapcore.InfoLevel)
	secondCore, second := observer.New(zapcore.ErrorLevel)
	o := newOutlet(&sink{logger: zap.New(firstCore)})
	logger := o.logger().With(zap.String("a", "1"))
	one, two := logger.With(zap.String("b", "2")), logger.With(zap.String("b", "3"))

	one.Info("one", zap.String("c", "4"))
	two.Debug("too little")
	undo := o.use(&sink{logger: zap.New(secondCore)})
	two.Info("too little")
	two.Error("two")
	undo()
	one.Info("again")

	for _, test := range []struct {
		name string
		logs *observer.ObservedLogs
		want map[string]map[string]any
	}{
		{"first", first, map[string]map[string]any{
			"one":   {"a": "1", "b": "2", "c": "4"},
			"again": {"a": "1", "b": "2"},
		}},
		{"second", second, map[string]map[string]any{
			"two": {"a": "1", "b": "3"},
		}},
	} {
		entries := test.logs.AllUntimed()
		if len(entries) != len(test.want) {
			t.Errorf("%s log has %d entries, not %d", test.name, len(entries), len(test.want))
		}
		for _, entry := range entries {
			if entry.LoggerName != "http.handlers.ciba_idp" {
				t.Errorf("%s: the logger's name is %q", entry.Message, entry.LoggerName)
			}
			fields := entry.ContextMap()
			if len(fields) != len(test.want[entry.Message]) {
				t.Errorf("%s log: %s has fields %v", test.name, entry.Message, fields)
			}
			for key, value := range test.want[entry.Message] {
				if fields[key] != value {
					t.Errorf("%s log: %s has %s=%v", test.name, entry.Message, key, fields[key])
				}
			}
		}
	}
}

// A config that was given up leads back only if nobody has come after it.
func TestOutletUndoOutOfOrder(t *testing.T) {
	first, second, third := new(sink), new(sink), new(sink)
	o := newOutlet(first)
	undo := o.use(second)
	o.use(third)
	undo()
	if o.current.Load() != third {
		t.Error("the log of a config that is in use was taken away")
	}
}
