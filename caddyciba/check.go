package caddyciba

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

const (
	// checkTimeout bounds all checks of one provider.
	checkTimeout = 20 * time.Second

	// storeCheckTimeout bounds the check of the store.
	storeCheckTimeout = 5 * time.Second

	// healthAge is how long a check is good for. Whoever asks more often causes no
	// more requests to the provider.
	healthAge = 15 * time.Second
)

// A checked is what was found out about one provider.
type checked struct {
	// Provider is its name in the configuration, or its issuer if it has none.
	Provider string `json:"provider"`

	// Issuer is the provider's issuer URL.
	Issuer string `json:"issuer"`

	// Findings are what was looked at.
	Findings []ciba.Finding `json:"findings"`
}

// worst is the worst severity of some findings.
func worst(all []checked) ciba.Severity {
	order := []ciba.Severity{ciba.SeverityOK, ciba.SeverityWarning, ciba.SeverityUnreachable, ciba.SeverityFailure}
	found := 0
	for _, c := range all {
		for _, f := range c.Findings {
			found = max(found, slices.Index(order, f.Severity))
		}
	}
	return order[found]
}

// check compares the configuration with the providers as they are now, all at
// once: those that have a name, and those that only a gate names by their issuer.
func (a *App) check(ctx context.Context) []checked {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var checks []func() checked
	seen := make(map[string]bool)
	encryption, unreadable := a.encryptionKeys()
	for _, name := range slices.Sorted(maps.Keys(a.Providers)) {
		p := a.Providers[name].withDefaults()
		settings, err := a.settings(p)
		if err != nil {
			checks = append(checks, func() checked { return notConfigured(name, p.Issuer, err) })
			continue
		}
		key, err := a.gateKey(settings, encryption)
		err = errors.Join(unreadable, err)
		if err != nil {
			checks = append(checks, func() checked { return notConfigured(name, p.Issuer, err) })
			continue
		}
		seen[key] = true
		checks = append(checks, func() checked { return a.checkProvider(ctx, name, settings) })
	}
	for _, key := range slices.Sorted(maps.Keys(a.gates)) {
		if g := a.gates[key]; !seen[key] {
			checks = append(checks, func() checked {
				return checked{Provider: g.issuer, Issuer: g.issuer, Findings: g.client.Diagnose(ctx)}
			})
		}
	}
	all := make([]checked, len(checks))
	var done sync.WaitGroup
	for i, check := range checks {
		done.Go(func() { all[i] = check() })
	}
	done.Wait()
	return all
}

// checkProvider checks a provider with a client of its own, since no gate may use
// it.
func (a *App) checkProvider(ctx context.Context, name string, s *clientSettings) checked {
	hc, err := s.httpClient()
	if err != nil {
		return notConfigured(name, s.issuer, err)
	}
	defer hc.CloseIdleConnections()
	proofs, err := s.trialProofs()
	if err != nil {
		return notConfigured(name, s.issuer, err)
	}
	client, err := s.client(hc, proofs)
	if err != nil {
		return notConfigured(name, s.issuer, err)
	}
	c := checked{Provider: name, Issuer: s.issuer, Findings: client.Diagnose(ctx)}
	if s.delivery == ciba.DeliveryPoll {
		return c
	}
	path := pingPath + name
	if s.delivery == ciba.DeliveryPush {
		path = pushPath + name
	}
	notices := ciba.Finding{Check: "notifications", Severity: ciba.SeverityOK, Detail: "a site takes them at " + path + ", which the provider must have for this client, with scheme and host"}
	if !a.notified[name] {
		notices.Severity = ciba.SeverityWarning
		notices.Detail = "no site takes them here: another node must, or ciba_notify is missing"
	}
	c.Findings = append(c.Findings, notices)
	return c
}

// notConfigured is the check of a provider whose settings cannot be used. The error
// has no secret.
func notConfigured(name, issuer string, err error) checked {
	return checked{Provider: name, Issuer: issuer, Findings: []ciba.Finding{
		{Check: "configuration", Severity: ciba.SeverityFailure, Detail: err.Error()},
	}}
}

// health is the last check of everything that the gates need.
type health struct {
	mu     sync.Mutex
	at     time.Time
	checks []checked
}

// ready checks providers and store, unless that was done a moment ago. Who comes
// meanwhile waits for it.
func (a *App) ready(ctx context.Context) []checked {
	a.health.mu.Lock()
	defer a.health.mu.Unlock()
	if time.Since(a.health.at) < healthAge {
		return a.health.checks
	}
	// A caller that leaves does not cut it short for the next one.
	ctx = context.WithoutCancel(ctx)
	a.health.checks = append(a.check(ctx), a.checkStore(ctx))
	a.health.at = time.Now()
	return a.health.checks
}

// checkStore reports whether the store can be used.
func (a *App) checkStore(ctx context.Context) checked {
	ctx, cancel := context.WithTimeout(ctx, storeCheckTimeout)
	defer cancel()
	f := ciba.Finding{Check: "store", Severity: ciba.SeverityOK, Detail: "the store can be read and written"}
	err := a.store.Ping(ctx)
	if err != nil {
		f.Severity = ciba.SeverityFailure
		f.Detail = "the store cannot be used: " + err.Error()
	}
	return checked{Provider: "store", Findings: []ciba.Finding{f}}
}
