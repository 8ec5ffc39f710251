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
	perHeld    int64           // bytes of memory for each held request
	inUse      int64           // of these, without garbage
	stacks     int64           // of the latter, for each held request
	heap       int64           // and these
	goroutines float64         // for each held request
	delays     []time.Duration // from one approval to the upstream, all others held; sorted
	released   float64         // requests a second, when all are approved at once
	cpu        time.Duration   // of the process meanwhile, for each request
	conns      int64           // to the upstream, in all
}

// gatewayRun measures the gateway in a fresh process.
func gatewayRun(ctx context.Context, binary, dir string, http2 bool, s settings) (*measured, error) {
	p, err := startProvider(s.delivery, s.workers)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	u, err := startUpstream()
	if err != nil {
		return nil, err
	}
	defer u.stop()
	global, site := gatewaySite(p.issuer, s.delivery, dir, u.address)
	g, err := startSide(ctx, "gateway", binary, dir, s.profiles, global, site)
	if err != nil {
		return nil, err
	}
	defer g.stop()
	m := new(measured)
	c := newCallers(http2)
	err = m.fill(ctx, g, c, s, p.asked)
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
	return m, m.drain(g, u, c, s, s.single, func() error {
		err := forEach(ctx, s.held-s.single, s.workers, func(n int) error {
			return p.approve(ctx, g.url, customer("held", s.single+n))
		})
		if err != nil {
			return fmt.Errorf("approving: %w", err)
		}
		return nil
	})
}

// blockRun measures the blocking handler in a fresh process.
func blockRun(ctx context.Context, binary, dir string, http2 bool, s settings) (*measured, error) {
	u, err := startUpstream()
	if err != nil {
		return nil, err
	}
	defer u.stop()
	global, site := blockSite(u.address)
	b, err := startSide(ctx, "block", binary, dir, s.profiles, global, site)
	if err != nil {
		return nil, err
	}
	defer b.stop()
	m := new(measured)
	c := newCallers(http2)
	err = m.fill(ctx, b, c, s, b.blocked)
	if err != nil {
		return nil, err
	}
	return m, m.drain(b, u, c, s, 0, func() error { return b.releaseAll(ctx) })
}

// fill holds requests at a side and takes note of what each of them costs.
func (m *measured) fill(ctx context.Context, side *side, c *callers, s settings, held func() int) error {
	time.Sleep(2 * time.Second) // what begins with the process shall be over
	empty, err := side.collect()
	if err != nil {
		return err
	}
	before, err := side.memory()
	if err != nil {
		return err
	}
	c.begin(ctx, side, "held", s.held)
	err = settle(ctx, "requests to be held", s.held, held, c.failures)
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	full, err := side.memory()
	if err != nil {
		return err
	}
	used, err := side.collect()
	if err != nil {
		return err
	}
	after, err := side.memory()
	if err != nil {
		return err
	}
	count := int64(s.held)
	m.perHeld, m.inUse = (full-before)/count, (after-before)/count
	m.heap, m.stacks = (used.Heap-empty.Heap)/count, (used.Stacks-empty.Stacks)/count
	m.goroutines = float64(used.Goroutines-empty.Goroutines) / float64(count)
	return side.profile(s.profiles, "heap", "goroutine")
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

// drain lets all requests go at once, waits for their answers, and takes note of how
// long that took and of what the process needed for it. Each request must have come
// to the upstream once. Some have been released before.
func (m *measured) drain(side *side, u *upstream, c *callers, s settings, before int, release func() error) error {
	err := side.profileCPU(s.profiles)
	if err != nil {
		return err
	}
	idle, err := side.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	err = release()
	if err != nil {
		return err
	}
	err = c.finish()
	if err != nil {
		return err
	}
	used, err := side.cpu()
	if err != nil {
		return err
	}
	customers, repeated, last := u.total()
	if customers != s.held || repeated > 0 {
		return fmt.Errorf("of %d requests, %d have come to the upstream, and %d of them more than once", s.held, customers, repeated)
	}
	count := s.held - before
	m.released = float64(count) / last.Sub(began).Seconds()
	m.cpu = (used - idle) / time.Duration(count)
	m.conns = u.conns.Load()
	return side.profile(s.profiles, "cpu", "mutex")
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
