package porttest

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// reserve binds a socket to a free port and does not listen on it. The system gives
// the port to nobody then who does not name it.
func reserve() (address string, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("making a socket: %w", err)
	}
	release = func() { _ = unix.Close(fd) }
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		release()
		return "", nil, fmt.Errorf("binding a socket: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		release()
		return "", nil, fmt.Errorf("reading the port: %w", err)
	}
	bound, ok := name.(*unix.SockaddrInet4)
	if !ok {
		release()
		return "", nil, fmt.Errorf("the socket is bound to a %T", name)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(bound.Addr), uint16(bound.Port)).String(), release, nil
}
