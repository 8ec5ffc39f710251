package idp

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// maxLimit bounds all limits, so that they can be added up without care.
const maxLimit = 1_000_000

// Bounds of the time in which a rate counts.
const (
	minRatePer     = time.Second
	maxRatePer     = 24 * time.Hour
	maxUserRatePer = 10 * time.Minute
)

// Rate bounds how often something may happen.
type Rate struct {
	// How often it may happen at once, and within each per, spread evenly. A
	// negative number lifts the bound. Required.
	Burst int `json:"burst,omitempty"`

	// The time in which it is counted, from 1s to 24h. Required, unless the
	// bound is lifted.
	Per caddy.Duration `json:"per,omitempty"`
}

// Limits keep customers from being flooded with requests, and the server with
// requests, attempts and connections. What goes beyond them is answered with 429
// and Retry-After.
type Limits struct {
	// How often one client may start a request, on each node. Default: 600,000
	// times in 1m, since one client may serve many customers.
	PerClient *Rate `json:"per_client,omitempty"`

	// How often a request may be started from one address, on each node; of IPv6
	// the first 64 bits count. Behind trusted_proxies of the server it is the
	// address that they name. Default: 600,000 times in 1m.
	PerSource *Rate `json:"per_source,omitempty"`

	// How often one customer may be asked, by all clients together, on all nodes.
	// Its time is 10m at most. Default: 20 times in 2m.
	PerUser *Rate `json:"per_user,omitempty"`

	// How often authentication as one client may fail from one address, until it
	// is refused without looking at the credentials, on each node. Default: 6
	// times in 1m.
	Failures *Rate `json:"failures,omitempty"`

	// How often authentication may fail from one address over all clients, on
	// each node. Default: 60 times in 1m.
	FailuresPerSource *Rate `json:"failures_per_source,omitempty"`

	// For how long a client that a customer has denied may not ask the customer
	// again. Default: 1m, doubled with each further denial up to 1h.
	CoolDown *CoolDown `json:"cool_down,omitempty"`

	// How many requests may wait for one customer at a time, over all clients.
	// Further ones are refused with 429. Default: 5.
	PendingPerUser int `json:"pending_per_user,omitempty"`

	// How many requests of one client may wait for one customer at a time.
	// Default: 3.
	PendingPerUserAndClient int `json:"pending_per_user_and_client,omitempty"`

	// How many polls may be held at a time. Those above are answered at once.
	// Default: 10000.
	HeldPolls int `json:"held_polls,omitempty"`
}

// CoolDown is for how long a client leaves a customer alone who has denied it.
type CoolDown struct {
	// The time after one denial. Each further denial doubles it. A negative time
	// means that there is none. Default: 1m.
	First caddy.Duration `json:"first,omitempty"`

	// The longest time. When as much has passed without a denial, earlier ones are
	// forgotten. Default: 1h. At most 24h.
	Longest caddy.Duration `json:"longest,omitempty"`
}

// check finds times that do not fit each other.
func (c *CoolDown) check() error {
	if c == nil || c.First < 0 {
		return nil
	}
	first, longest := c.First, c.Longest
	if first == 0 {
		first = caddy.Duration(time.Minute)
	}
	if longest == 0 {
		longest = caddy.Duration(time.Hour)
	}
	if first > longest || longest > caddy.Duration(24*time.Hour) {
		return fmt.Errorf("limit cool_down is %s at first and %s at most: the first must not be longer, and neither longer than 24h",
			time.Duration(first), time.Duration(longest))
	}
	return nil
}

// settings is the time as the provider takes it.
func (c *CoolDown) settings() provider.CoolDown {
	if c == nil {
		return provider.CoolDown{}
	}
	return provider.CoolDown{First: time.Duration(c.First), Longest: time.Duration(c.Longest)}
}

// check finds limits outside of their bounds.
func (l *Limits) check() error {
	for _, limit := range []struct {
		name  string
		value int
	}{
		{"pending_per_user", l.PendingPerUser},
		{"pending_per_user_and_client", l.PendingPerUserAndClient},
		{"held_polls", l.HeldPolls},
	} {
		if limit.value < 0 || limit.value > maxLimit {
			return fmt.Errorf("limit %s is %d, but must be from 1 to %d", limit.name, limit.value, maxLimit)
		}
	}
	err := l.CoolDown.check()
	if err != nil {
		return err
	}
	for _, limit := range []struct {
		name string
		rate *Rate
		max  time.Duration
	}{
		{"per_client", l.PerClient, maxRatePer},
		{"per_source", l.PerSource, maxRatePer},
		{"per_user", l.PerUser, maxUserRatePer},
		{"failures", l.Failures, maxRatePer},
		{"failures_per_source", l.FailuresPerSource, maxRatePer},
	} {
		if limit.rate == nil || limit.rate.Burst < 0 {
			continue
		}
		if limit.rate.Burst == 0 || limit.rate.Burst > maxLimit {
			return fmt.Errorf("limit %s is %d, but must be from 1 to %d", limit.name, limit.rate.Burst, maxLimit)
		}
		per := time.Duration(limit.rate.Per)
		if per < minRatePer || per > limit.max {
			return fmt.Errorf("limit %s is in %s, but must be in %s to %s", limit.name, per, minRatePer, limit.max)
		}
	}
	return nil
}

// rates are the rates as the provider takes them.
func (l *Limits) rates() provider.Limits {
	return provider.Limits{
		Client:         l.PerClient.settings(),
		Source:         l.PerSource.settings(),
		User:           l.PerUser.settings(),
		Failures:       l.Failures.settings(),
		SourceFailures: l.FailuresPerSource.settings(),
	}
}

// settings is the rate as the provider takes it; the zero value if there is none.
func (r *Rate) settings() provider.Rate {
	if r == nil {
		return provider.Rate{}
	}
	return provider.Rate{Burst: r.Burst, Per: time.Duration(r.Per)}
}
