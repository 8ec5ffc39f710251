package idp

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
)

// limits reads how much is let in.
func (p *parser) limits() error {
	if p.NextArg() {
		return p.ArgErr()
	}
	limits := new(Limits)
	p.handler.Limits = limits
	return p.block(func() error {
		err := p.limit(limits)
		if err != nil {
			return err
		}
		return p.wrap(limits.check())
	})
}

// limit reads one limit.
func (p *parser) limit(limits *Limits) error {
	switch p.Val() {
	case "per_client":
		return p.rate(&limits.PerClient)
	case "per_source":
		return p.rate(&limits.PerSource)
	case "per_user":
		return p.rate(&limits.PerUser)
	case "failures":
		return p.rate(&limits.Failures)
	case "failures_per_source":
		return p.rate(&limits.FailuresPerSource)
	case "cool_down":
		return p.coolDown(limits)
	case "pending_per_user":
		return p.number(&limits.PendingPerUser)
	case "pending_per_user_and_client":
		return p.number(&limits.PendingPerUserAndClient)
	case "held_polls":
		return p.number(&limits.HeldPolls)
	default:
		return p.unknown()
	}
}

// rate reads how often something may happen, and in what time; or "off".
func (p *parser) rate(into **Rate) error {
	args := p.RemainingArgs()
	rate := new(Rate)
	*into = rate
	if len(args) == 1 && args[0] == "off" {
		rate.Burst = -1
		return nil
	}
	if len(args) != 2 {
		return p.ArgErr()
	}
	burst, err := strconv.Atoi(args[0])
	if err != nil || burst < 1 {
		return p.Errf("invalid number '%s': it must be a whole number above zero", args[0])
	}
	per, err := caddy.ParseDuration(args[1])
	if err != nil {
		return p.Errf("invalid time '%s': %w", args[1], err)
	}
	rate.Burst, rate.Per = burst, caddy.Duration(per)
	return nil
}

// coolDown reads for how long a client is kept away from a customer who has denied
// it, after the first denial and at most; or "off".
func (p *parser) coolDown(limits *Limits) error {
	args := p.RemainingArgs()
	limits.CoolDown = new(CoolDown)
	if len(args) == 1 && args[0] == "off" {
		limits.CoolDown.First = -1
		return nil
	}
	if len(args) != 1 && len(args) != 2 {
		return p.ArgErr()
	}
	for i, into := range []*caddy.Duration{&limits.CoolDown.First, &limits.CoolDown.Longest}[:len(args)] {
		d, err := caddy.ParseDuration(args[i])
		if err != nil || d <= 0 {
			return p.Errf("invalid time '%s'", args[i])
		}
		*into = caddy.Duration(d)
	}
	return nil
}
