package idp

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// collectors count across configs: Caddy makes a new registry for each config,
// and a counter that started at zero again would look like a restart. All label
// values come from the config, so that their number is bounded.
var collectors = struct {
	requests  *prometheus.CounterVec
	decisions *prometheus.CounterVec
	delay     *prometheus.HistogramVec

	refusals *prometheus.CounterVec
	events   *prometheus.CounterVec

	notifications *prometheus.CounterVec
}{
	requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "ciba_idp",
		Name:      "requests_total",
		Help:      "Authentication requests that were accepted.",
	}, []string{"issuer", "client"}),
	decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "ciba_idp",
		Name:      "decisions_total",
		Help:      "Requests that customers decided, by decision: approved or denied.",
	}, []string{"issuer", "client", "decision"}),
	delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "caddy",
		Subsystem: "ciba_idp",
		Name:      "decision_seconds",
		Help:      "Time from a request to the customer's decision.",
		Buckets:   []float64{2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600},
	}, []string{"issuer", "decision"}),
	refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "ciba_idp",
		Name:      "refusals_total",
		Help:      "Authentication requests of known clients that were refused, by error code.",
	}, []string{"issuer", "client", "error"}),
	events: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "ciba_idp",
		Name:      "events_total",
		Help:      "What has become of requests, by event: approved, denied, redeemed, reported and so on.",
	}, []string{"issuer", "client", "event"}),
	notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "ciba_idp",
		Name:      "notifications_total",
		Help:      "Attempts to notify customers, by notifier and outcome: sent, skipped (no address), retried or failed.",
	}, []string{"issuer", "notifier", "outcome"}),
}

// registerMetrics adds the collectors to the registry of a config. Several
// handlers of one config do so.
func registerMetrics(registry prometheus.Registerer) error {
	for _, collector := range []prometheus.Collector{collectors.requests, collectors.decisions, collectors.delay, collectors.refusals, collectors.events, collectors.notifications} {
		err := registry.Register(collector)
		var registered prometheus.AlreadyRegisteredError
		if err != nil && !errors.As(err, &registered) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
