package porttest

import (
	"net"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// A server of Caddy's listens again and again on an address that is refused in
// between, and that nobody else gets.
func TestReserve(t *testing.T) {
	address := Reserve(t)
	parsed, err := caddy.ParseNetworkAddress("tcp/" + address)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err = net.DialTimeout("tcp", address, time.Minute)
		if err == nil {
			t.Error("somebody listens")
		}
		listener, err := parsed.Listen(t.Context(), 0, net.ListenConfig{})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.DialTimeout("tcp", address, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		err = listener.(net.Listener).Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	other, err := net.Listen("tcp", address)
	if err == nil {
		_ = other.Close()
		t.Error("the address could be taken without SO_REUSEPORT")
	}
}
