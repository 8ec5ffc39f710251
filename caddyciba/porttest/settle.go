package porttest

import (
	"net/netip"
	"testing"
	"time"
)

// settlePatience is how long Settle waits.
const settlePatience = 20 * time.Second

// Settle waits until at most one socket listens on an address, which is on this
// machine. While Caddy replaces a configuration there are two, and the connections that
// wait at the one that is closed are cut off, though no handler has seen them.
func Settle(t testing.TB, address string) {
	t.Helper()
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatalf("waiting for listeners: %v", err)
	}
	deadline := time.Now().Add(settlePatience)
	for {
		count, err := listeners(parsed.Port())
		if err != nil {
			t.Fatalf("counting listeners: %v", err)
		}
		if count <= 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets listen on %s", count, address)
		}
		time.Sleep(time.Millisecond)
	}
}
