package porttest

import (
	"context"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListeners(t *testing.T) {
	address := Reserve(t)
	count := func() int {
		t.Helper()
		port := netPort(t, address)
		n, err := listeners(port)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 0 {
		t.Errorf("%d listen on a port that is only reserved", n)
	}
	first, err := listenShared(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	second, err := listenShared(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 2 {
		t.Errorf("%d listen, want 2", n)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = second.Close()
	}()
	Settle(t, address)
	<-closed
	if n := count(); n != 1 {
		t.Errorf("%d listen, want 1", n)
	}
	_ = first.Close()
}

func netPort(t *testing.T, address string) uint16 {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(tcp.Port)
}

// listenShared listens as Caddy does.
func listenShared(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		if err != nil {
			return err
		}
		return failed
	}}
	return config.Listen(ctx, "tcp", address)
}
