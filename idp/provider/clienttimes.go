package provider

import "time"

// lifetimeOf is how long a request of the client waits if it does not say.
func (p *Provider) lifetimeOf(c *client) time.Duration {
	if c.RequestLifetime != 0 {
		return c.RequestLifetime
	}
	return p.cfg.RequestLifetime
}

// intervalOf is how long the client waits between two polls.
func (p *Provider) intervalOf(c *client) time.Duration {
	if c.Interval != 0 {
		return c.Interval
	}
	return p.cfg.Interval
}
