// Package porttest gives tests addresses that stay theirs.
//
// A test that configures a server by its address has to know the address before the
// server listens. To listen, close, and hope that nobody takes the port meanwhile
// fails now and then where many tests run at once. Worse, two servers that set
// SO_REUSEPORT, as Caddy's do, then share the port without an error, and each gets
// some of the other's requests.
package porttest

import "testing"

// Reserve returns a loopback address, as host and port, that is kept until the test
// ends. A server that sets SO_REUSEPORT can listen on it, in this process or another
// one of the same user, any number of times one after the other; while none does,
// connections are refused. Where the system is not Linux, the port is merely free
// when Reserve returns.
func Reserve(t testing.TB) string {
	t.Helper()
	address, release, err := reserve()
	if err != nil {
		t.Fatalf("reserving a port: %v", err)
	}
	t.Cleanup(release)
	return address
}
