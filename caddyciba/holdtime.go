package caddyciba

import (
	"fmt"
	"time"
)

// effectiveHold is the hold with its default.
func (h *Handler) effectiveHold() time.Duration {
	if h.Hold == 0 {
		return defaultHold
	}
	return time.Duration(h.Hold)
}

// checkHold refuses a hold that is out of bounds, or after which the server
// would no longer write an answer. A write timeout of 0 is none.
func checkHold(hold, writeTimeout time.Duration, server string) error {
	switch {
	case hold <= 0 || hold > maxHold:
		return fmt.Errorf("hold must be positive and at most %s, got %s", maxHold, hold)
	case writeTimeout > 0 && hold >= writeTimeout:
		whose := "the server's"
		if server != "" {
			whose = "server " + server + "'s"
		}
		return fmt.Errorf("hold of %s is not shorter than %s write timeout of %s: the answer to an approved request would be lost", hold, whose, writeTimeout)
	}
	return nil
}
