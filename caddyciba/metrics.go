package caddyciba

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// collectors are the metrics of this process. They are made once and registered
// with the registry of each configuration, which Caddy makes anew at every
// reload; so counting goes on where it was.
var collectors = newCollectors()

// metrics are what operators watch. Labels have few values: issuers come from
// the configuration, outcomes from a fixed list.
type metrics struct {
	transactions *prometheus.CounterVec
	held         *prometheus.GaugeVec
	wait         *prometheus.HistogramVec
	upstream     *prometheus.HistogramVec

	notifications *prometheus.CounterVec
}

func newCollectors() *metrics {
	const namespace, subsystem = "caddy", "ciba"
	return &metrics{
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "transactions_total",
			Help: "Requests that came to a gate, by what became of them and the problem that was answered.",
		}, []string{"issuer", "outcome", "problem"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "held_requests",
			Help: "Requests that a gate is serving: waiting for approval, or being sent.",
		}, []string{"issuer"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "decision_seconds",
			Help:    "Time from the arrival of a request to the customer's decision, by outcome.",
			Buckets: []float64{1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600},
		}, []string{"issuer", "outcome"}),
		upstream: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "upstream_seconds",
			Help:    "Time that the upstream took to answer approved requests.",
			Buckets: prometheus.DefBuckets,
		}, []string{"issuer"}),
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "notifications_total",
			Help: "Notifications of providers that came in, by delivery mode and the status that was answered.",
		}, []string{"issuer", "mode", "status"}),
	}
}

// register makes the metrics part of a configuration's registry.
func (m *metrics) register(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.transactions, m.held, m.wait, m.upstream, m.notifications} {
		err := registry.Register(c)
		var already prometheus.AlreadyRegisteredError
		if err != nil && !errors.As(err, &already) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// observe counts one event. Only the ends of a request are counted.
func (m *metrics) observe(issuer string, e stepup.Event) {
	switch e.Type {
	case stepup.EventApproved, stepup.EventDenied, stepup.EventExpired:
		m.wait.WithLabelValues(issuer, string(e.Type)).Observe(e.Held.Seconds())
	case stepup.EventAnswered:
		begun, answered := e.Transaction.Times[stepup.StateSending], e.Transaction.Times[stepup.StateAnswered]
		m.upstream.WithLabelValues(issuer).Observe(answered.Sub(begun).Seconds())
	}
	switch e.Type {
	case stepup.EventRequested, stepup.EventApproved, stepup.EventSent:
		return
	}
	m.transactions.WithLabelValues(issuer, string(e.Type), string(e.Problem)).Inc()
}
