package provider

import (
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Rate bounds how often something may happen: Burst times at once, and as often
// again within each Per, spread evenly. The zero Rate stands for the default, and a
// negative Burst for no bound.
type Rate struct {
	Burst int
	Per   time.Duration
}

// Limits are bounds against floods, above what honest clients do. What goes beyond
// them is answered with status 429, temporarily_unavailable and Retry-After. All but
// User are kept in memory, by each node for itself. With InsecureTestApprovals, where
// one user plays many, the default of User and Failures is no bound.
type Limits struct {
	// Client bounds the authentication requests of one client. Its default keeps
	// nobody from serving many users: 600,000 per minute.
	Client Rate

	// Source bounds the authentication requests from one address, that of IPv6
	// without its last 64 bits. A client of many users comes from one address, so
	// the default is the same: 600,000 per minute. It needs Config.ClientIP.
	Source Rate

	// User bounds how often one user is asked, by all clients and on all nodes
	// together: at most Burst times within any Per, and half of that by one
	// client. Default: 20 in two minutes. Per is at most ten minutes.
	User Rate

	// Failures bounds failed authentications of one client from one address:
	// when they are used up, the credentials are not looked at any more. Without
	// Config.ClientIP they are counted for the client alone, and the right
	// credentials are taken nevertheless, or strangers could lock clients out.
	// Default: 6 per minute.
	Failures Rate

	// SourceFailures bounds the same over all clients. Default: 60 per minute.
	SourceFailures Rate
}

// Defaults of Limits.
var defaultLimits = Limits{
	Client:         Rate{Burst: 600000, Per: time.Minute},
	Source:         Rate{Burst: 600000, Per: time.Minute},
	User:           Rate{Burst: 20, Per: 2 * time.Minute},
	Failures:       Rate{Burst: 6, Per: time.Minute},
	SourceFailures: Rate{Burst: 60, Per: time.Minute},
}

// maxPromptWindow bounds Limits.User.Per: requests are kept for longer than that.
const maxPromptWindow = 10 * time.Minute

func (l Limits) withDefaults(test bool) Limits {
	if test {
		setRate(&l.User, Rate{Burst: -1})
		setRate(&l.Failures, Rate{Burst: -1})
	}
	setRate(&l.Client, defaultLimits.Client)
	setRate(&l.Source, defaultLimits.Source)
	setRate(&l.User, defaultLimits.User)
	setRate(&l.Failures, defaultLimits.Failures)
	setRate(&l.SourceFailures, defaultLimits.SourceFailures)
	return l
}

func setRate(r *Rate, value Rate) {
	if *r == (Rate{}) {
		*r = value
	}
}

func (l Limits) validate() error {
	for _, r := range []Rate{l.Client, l.Source, l.User, l.Failures, l.SourceFailures} {
		if r.Burst == 0 || r.bounds() && (r.Per < time.Second || r.Per > 24*time.Hour) {
			return errors.New("a rate must have a burst, and a time from 1s to 24h")
		}
	}
	if l.User.bounds() && l.User.Per > maxPromptWindow {
		return errors.New("the rate of a user must be over 10m at most")
	}
	return nil
}

// bounds reports whether there is a bound at all.
func (r Rate) bounds() bool { return r.Burst > 0 }

// tooMany is the answer to what goes beyond a limit.
func tooMany(description string, wait time.Duration) *oauthError {
	return &oauthError{
		status:      http.StatusTooManyRequests,
		code:        codeTooManyRequests,
		description: description,
		retryAfter:  max(wait, time.Second),
	}
}

// Kinds of buckets.
const (
	bucketClient = iota
	bucketSource
	bucketFailures
	bucketSourceFailures
)

// bucket names one token bucket.
type bucket struct {
	kind           int
	client, source string
}

// maxBuckets bounds the memory of a limiter. Beyond it, buckets are forgotten that
// are full, and then any.
const maxBuckets = 1 << 16

// limiter keeps token buckets. A bucket is one number: the time at which it will be
// full again (the generic cell rate algorithm). What is full needs none.
type limiter struct {
	mu      sync.Mutex
	full    map[bucket]time.Time
	cleared time.Time
}

// take takes one token. It returns how long to wait for one if there is none.
func (l *limiter) take(now time.Time, b bucket, rate Rate) time.Duration {
	return l.use(now, b, rate, true)
}

// peek returns what take would, and takes nothing.
func (l *limiter) peek(now time.Time, b bucket, rate Rate) time.Duration {
	return l.use(now, b, rate, false)
}

func (l *limiter) use(now time.Time, b bucket, rate Rate, take bool) time.Duration {
	if !rate.bounds() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	full, ok := l.full[b]
	if !ok || full.Before(now) || full.Sub(now) > rate.Per { // the last: the clock was set back
		full = now
	}
	full = full.Add(rate.Per / time.Duration(rate.Burst))
	wait := full.Sub(now) - rate.Per
	if wait > 0 {
		return wait
	}
	if take {
		l.put(now, b, full)
	}
	return 0
}

func (l *limiter) put(now time.Time, b bucket, full time.Time) {
	if l.full == nil {
		l.full = make(map[bucket]time.Time)
	}
	if len(l.full) >= maxBuckets && now.Sub(l.cleared) >= time.Second {
		l.cleared = now
		for other, at := range l.full {
			if at.Before(now) {
				delete(l.full, other)
			}
		}
	}
	if len(l.full) >= maxBuckets {
		for other := range l.full {
			delete(l.full, other)
			break
		}
	}
	l.full[b] = full
}

// has reports whether one of two buckets is not full.
func (l *limiter) has(now time.Time, one, other bucket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.full) > 0 && (l.full[one].After(now) || l.full[other].After(now))
}

// source returns the address that a request comes from, as it is counted: that of
// IPv6 by its network. It is empty if it is not known.
func (p *Provider) source(r *http.Request) string {
	if p.cfg.ClientIP == nil {
		return ""
	}
	text := p.cfg.ClientIP(r)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	if addr.Is4() {
		return text // there is one way to write it
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return ""
	}
	return network.String()
}

// checkSource counts an authentication request for the address that it comes from.
func (p *Provider) checkSource(r *http.Request) error {
	source := p.source(r)
	if source == "" {
		return nil
	}
	wait := p.limiter.take(p.now(), bucket{kind: bucketSource, source: source}, p.cfg.Limits.Source)
	if wait > 0 {
		return tooMany("Too many requests come from this address.", wait)
	}
	return nil
}

// checkClientRate counts an authentication request for its client.
func (p *Provider) checkClientRate(c *client) error {
	wait := p.limiter.take(p.now(), bucket{kind: bucketClient, client: c.ID}, p.cfg.Limits.Client)
	if wait > 0 {
		return tooMany("The client makes too many requests.", wait)
	}
	return nil
}
