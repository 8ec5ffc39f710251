package idp

import (
	"fmt"
)

// maxLimit bounds all limits, so that they can be added up without care.
const maxLimit = 1_000_000

// Limits keep customers from being flooded with requests, and the server with
// connections.
type Limits struct {
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
	return nil
}
