package stepup

import (
	"sync"
	"time"
)

const (
	// looksAtOnce is how often a caller may look at one transaction in a row, and
	// lookInterval how long it takes until it may do so once more.
	looksAtOnce  = 60
	lookInterval = time.Second

	// pacesKept is how many transactions are remembered before those are dropped
	// that are not looked at any more.
	pacesKept = 1024
)

// pacer bounds how often each transaction is looked at in this process, so that a
// caller that does not heed Retry-After costs no more than one that does. It
// remembers one time for each: when all of what was used up will have come back.
// It is safe for concurrent use.
type pacer struct {
	mu    sync.Mutex
	until map[string]time.Time
	most  int // how many are remembered before the next clearance
}

func newPacer() *pacer {
	return &pacer{until: make(map[string]time.Time), most: pacesKept}
}

// take counts a look at a transaction. It returns how long the caller has to wait
// until there may be another one, or 0 if this one may be.
func (p *pacer) take(id string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := later(now, p.until[id])
	wait := until.Add(lookInterval).Sub(now) - looksAtOnce*lookInterval
	if wait > 0 {
		return wait
	}
	p.until[id] = until.Add(lookInterval)
	if len(p.until) > p.most {
		p.clear(now)
	}
	return 0
}

// clear forgets transactions of which nothing is used up.
func (p *pacer) clear(now time.Time) {
	for id, until := range p.until {
		if !until.After(now) {
			delete(p.until, id)
		}
	}
	p.most = max(pacesKept, 2*len(p.until))
}

// pace refuses a caller that looks at its transaction too often. Streams of events
// are not looks: they come by themselves.
func (c *counter) pace() error {
	wait := c.gate.looks.take(c.ID, c.gate.now())
	if wait <= 0 {
		return nil
	}
	f := refuse(ProblemTooManyLooks, "The transaction goes on all the same. Look again after the time that Retry-After says, or have the answer held back by Prefer: wait.", nil)
	f.Transaction, f.State, f.Forwarded = c.ID, c.State, c.Forwarded()
	f.RetryAfter = wait
	return f
}
