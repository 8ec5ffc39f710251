package store

import (
	"os"
	"syscall"
)

// datasync makes what was written to the file durable. Times of access and change
// may be lost.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
