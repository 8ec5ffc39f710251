package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// measured is what one side needs over one version of HTTP.
type measured struct {
	perHeld  int64           // bytes of memory for each held request
	inUse    int64           // of these, without garbage
	delays   []time.Duration // from one approval to the upstream, all others held; sorted
	released float64         // requests a second, when all are approved at once
	conns    int64           // to the upstream, in all
}

// gatewayRun measures the gateway in a fresh process.
func gatewayRun(ctx context.Context, binary, dir string, http2 bool, s settings) (*measured, error) {
	p, err := startProvider(s.workers)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	u, err := startUpstream()
	if err != nil {
		return nil, err
	}
	defer u.stop()
	global, site := gatewaySite(p.issuer, dir, u.address)
	g, err := startSide(ctx, "gateway", binary, dir, global, site)
	if err != nil {
		return nil, err
	}
	defer g.stop()
	m := new(measured)
	c := newCallers(http2)
	err = m.fill(ctx, g, c, s.held, p.asked)
	if err != nil {
		return nil, err
	}
	for n := range s.single {
		delay, err := approveOne(ctx, p, u, g, n)
		if err != nil {
			return nil, err
		}
		m.delays = append(m.delays, delay)
	}
	slices.Sort(m.delays)
	began := time.Now()
	err = forEach(ctx, s.held-s.single, s.workers, func(n int) error {
		return p.approve(ctx, g.url, customer("held", s.single+n))
	})
	if err != nil {
		return nil, fmt.Errorf("approving: %w", err)
	}
	return m, m.drained(u, c, began, s.held, s.single)
}

// blockRun measures the blocking handler in a fresh process.
func blockRun(ctx context.Context, binary, dir string, http2 bool, s settings) (*measured, error) {
	u, err := startUpstream()
	if err != nil {
		return nil, err
	}
	defer u.stop()
	global, site := blockSite(u.address)
	b, err := startSide(ctx, "block", binary, dir, global, site)
	if err != nil {
		return nil, err
	}
	defer b.stop()
	m := new(measured)
	c := newCallers(http2)
	err = m.fill(ctx, b, c, s.held, b.blocked)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	err = b.releaseAll(ctx)
	if err != nil {
		return nil, err
	}
	return m, m.drained(u, c, began, s.held, 0)
}

// fill holds requests at a side and takes note of what each of them costs.
func (m *measured) fill(ctx context.Context, s *side, c *callers, count int, held func() int) error {
	time.Sleep(2 * time.Second) // what begins with the process shall be over
	err := s.collect()
	if err != nil {
		return err
	}
	before, err := s.memory()
	if err != nil {
		return err
	}
	c.begin(ctx, s, "held", count)
	err = settle(ctx, "requests to be held", count, held, c.failures)
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	full, err := s.memory()
	if err != nil {
		return err
	}
	err = s.collect()
	if err != nil {
		return err
	}
	inUse, err := s.memory()
	m.perHeld, m.inUse = (full-before)/int64(count), (inUse-before)/int64(count)
	return err
}

// approveOne lets one customer approve and returns how long it takes until the
// request has come to the upstream.
func approveOne(ctx context.Context, p *provider, u *upstream, g *side, n int) (time.Duration, error) {
	name := customer("held", n)
	err := p.approve(ctx, g.url, name)
	if err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		times := u.arrivals(name)
		if len(times) > 0 {
			time.Sleep(5 * time.Millisecond) // for the answer to be over
			return times[0].Sub(p.approvedAt(name)), nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return 0, fmt.Errorf("%s has approved, and nothing was sent", name)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// drained waits for all answers and takes note of how long it took. Each request
// must have come once.
func (m *measured) drained(u *upstream, c *callers, began time.Time, held, before int) error {
	err := c.finish()
	if err != nil {
		return err
	}
	customers, repeated, last := u.total()
	if customers != held || repeated > 0 {
		return fmt.Errorf("of %d requests, %d have come to the upstream, and %d of them more than once", held, customers, repeated)
	}
	m.released = float64(held-before) / last.Sub(began).Seconds()
	m.conns = u.conns.Load()
	return nil
}

// forEach does something with each number below count, several at a time, and stops
// at an error.
func forEach(ctx context.Context, count, workers int, do func(n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= count {
					return
				}
				err := do(n)
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}
