package stepup

import (
	"sync"
	"time"
)

// Limits bound what waits for approval at one time, in this process. Zero means
// the default, a negative number means no limit.
type Limits struct {
	// Held is the number of requests. Default: 4096.
	Held int

	// HeldBytes is the sum of their bodies in bytes. Default: 256 MiB.
	HeldBytes int64

	// HeldPerCaller is the number of requests of one caller. Default: 256.
	HeldPerCaller int

	// HeldBytesPerCaller is the sum of their bodies in bytes. Default: 32 MiB.
	HeldBytesPerCaller int64
}

const (
	defaultHeld               = 4096
	defaultHeldBytes          = 256 << 20
	defaultHeldPerCaller      = 256
	defaultHeldBytesPerCaller = 32 << 20

	// busyRetryAfter is when a caller may try again after a limit was reached.
	busyRetryAfter = 5 * time.Second
)

func (l Limits) withDefaults() Limits {
	if l.Held == 0 {
		l.Held = defaultHeld
	}
	if l.HeldBytes == 0 {
		l.HeldBytes = defaultHeldBytes
	}
	if l.HeldPerCaller == 0 {
		l.HeldPerCaller = defaultHeldPerCaller
	}
	if l.HeldBytesPerCaller == 0 {
		l.HeldBytesPerCaller = defaultHeldBytesPerCaller
	}
	return l
}

// usage is a number of requests and the bytes of their bodies.
type usage struct {
	held  int
	bytes int64
}

// occupancy counts what is held. It is safe for concurrent use.
type occupancy struct {
	limits Limits

	mu      sync.Mutex
	total   usage
	callers map[string]usage
}

func newOccupancy(l Limits) *occupancy {
	return &occupancy{limits: l.withDefaults(), callers: make(map[string]usage)}
}

// place is room for one request. It is given back once, by leave.
type place struct {
	o      *occupancy
	bytes  int64
	caller string
	known  bool // the caller is, and counted
}

// enter reserves room for a request whose body has the given number of bytes at
// most. It comes before the body is read, so that a flood of slow or large
// bodies finds the door closed. The error is a *Refusal.
func (o *occupancy) enter(bytes int64) (*place, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.limits.Held >= 0 && o.total.held+1 > o.limits.Held || o.limits.HeldBytes >= 0 && o.total.bytes+bytes > o.limits.HeldBytes {
		f := refuse(ProblemBusy, "Nothing was sent and nobody was asked. Try again later.", nil)
		f.RetryAfter = busyRetryAfter
		return nil, f
	}
	o.total.held++
	o.total.bytes += bytes
	return &place{o: o, bytes: bytes}, nil
}

// shrink gives back what was reserved for more than the body's real size.
func (p *place) shrink(bytes int64) {
	p.o.mu.Lock()
	defer p.o.mu.Unlock()
	p.o.total.bytes -= p.bytes - bytes
	if p.known {
		used := p.o.callers[p.caller]
		used.bytes -= p.bytes - bytes
		p.o.callers[p.caller] = used
	}
	p.bytes = bytes
}

// of counts the request as one of the caller's. It comes before anybody is
// asked. The error is a *Refusal.
func (p *place) of(caller string) error {
	p.o.mu.Lock()
	defer p.o.mu.Unlock()
	limits, used := p.o.limits, p.o.callers[caller]
	if limits.HeldPerCaller >= 0 && used.held+1 > limits.HeldPerCaller ||
		limits.HeldBytesPerCaller >= 0 && used.bytes+p.bytes > limits.HeldBytesPerCaller {
		f := refuse(ProblemTooManyHeld, "Nothing was sent and nobody was asked. Wait until earlier requests are answered.", nil)
		f.RetryAfter = busyRetryAfter
		return f
	}
	p.o.callers[caller] = usage{held: used.held + 1, bytes: used.bytes + p.bytes}
	p.caller, p.known = caller, true
	return nil
}

// leave gives the room back.
func (p *place) leave() {
	p.o.mu.Lock()
	defer p.o.mu.Unlock()
	p.o.total.held--
	p.o.total.bytes -= p.bytes
	if !p.known {
		return
	}
	used := p.o.callers[p.caller]
	used.held--
	used.bytes -= p.bytes
	if used.held == 0 {
		delete(p.o.callers, p.caller)
		return
	}
	p.o.callers[p.caller] = used
}

// now returns what is held, for gauges.
func (o *occupancy) now() usage {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}
