package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns how long a process has run on a CPU, itself and in the kernel.
func cpuTime(pid int) (time.Duration, error) {
	// This is what clock_getcpuclockid makes of a process in Linux. It is exact,
	// where /proc counts in hundredths of a second.
	const cpuClockOfProcess = 2
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|cpuClockOfProcess), &t)
	if err != nil {
		return 0, fmt.Errorf("reading CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
