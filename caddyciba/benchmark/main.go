// Command benchmark measures what held requests cost the gateway, side by side with
// the least that Caddy can do: a handler that reads the body and blocks.
//
//	go run ./caddyciba/benchmark
//
// Both sides are the same program with the same reverse_proxy, which has a bounded
// number of connections to the upstream. Each is started afresh for HTTP/1.1 and for
// HTTP/2, and gets requests with bodies of one KiB, all of which are held at a time.
// The gateway keeps its journal in bbolt, where every step but the
// approval itself is on disk before it counts, and is pinged by a provider that runs in the driver. Measured are the
// memory that each held request adds to the process, the time from one approval to
// the upstream while all others are held, and how fast all others are released when
// they are approved at once. Each request must reach the upstream once.
//
// Besides, it compares requests that an earlier approval covers (the option reuse)
// with those of a bare proxy, in rounds that take turns, by requests a second and by
// processor time of the proxy.
//
// The driver with the callers, the provider and the upstream shares the machine with
// both sides, so the rate at which all are released tells of them, too; what a side
// itself needs for each of these requests is told apart, by the kernel's books. Linux is needed, and
// room for twice as many open files as requests are held.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// settings are the command's flags.
type settings struct {
	held    int
	single  int
	workers int
	check   bool
	only    string        // what is measured, or empty for everything
	rounds  int           // of requests that an approval covers
	round   time.Duration // how long each takes

	delivery string // how the provider tells the gateway
	profiles string // directory, or empty
}

// What can be measured alone.
const (
	onlyHeld  = "held"
	onlyReuse = "reuse"
)

// upstreamConns bounds the connections to the upstream, on both sides.
const upstreamConns = 256

// The bounds that -check enforces.
const (
	mostMemory = 1.25                 // of the blocking handler's
	mostDelay  = 2 * time.Millisecond // median
)

func main() {
	var s settings
	flag.IntVar(&s.held, "held", 9000, "requests that are held at a time")
	flag.IntVar(&s.single, "single", 200, "of these, how many are approved one after the other")
	flag.IntVar(&s.workers, "workers", 32, "approvals on their way at a time")
	flag.StringVar(&s.delivery, "delivery", deliverPing, "how the gateway learns of approvals: ping, push, or poll, which is held by the provider")
	flag.StringVar(&s.profiles, "profiles", "", "directory for profiles of both sides: memory and goroutines while all are held, processor time and locks while all are released")
	flag.BoolVar(&s.check, "check", false, "fail if memory, delay or rate are beyond their bounds")
	flag.StringVar(&s.only, "only", "", "measure held or reuse alone: requests that are held, or those that an earlier approval covers")
	flag.IntVar(&s.rounds, "rounds", 10, "rounds of requests that an earlier approval covers, of each side")
	flag.DurationVar(&s.round, "round", 2*time.Second, "how long each of these takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	if s.only != "" && s.only != onlyHeld && s.only != onlyReuse {
		return fmt.Errorf("-only is %q, not %s or %s", s.only, onlyHeld, onlyReuse)
	}
	dir, err := os.MkdirTemp("", "ciba-benchmark-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("building Caddy ...")
	binary := filepath.Join(dir, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./caddyciba/benchmark/caddy")
	build.Stderr = os.Stderr
	err = build.Run()
	if err != nil {
		return fmt.Errorf("building caddy (run this in the root of the repository): %w", err)
	}
	if s.only != onlyHeld {
		err := reuseRun(ctx, binary, dir, s)
		if err != nil || s.only == onlyReuse {
			return err
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\t%d held requests\tgateway\tblocking handler\tratio\tbound\t\n", s.held)
	var missed []error
	for _, version := range []struct {
		name  string
		http2 bool
	}{{"HTTP/1.1", false}, {"HTTP/2", true}} {
		fmt.Printf("%s ...\n", version.name)
		folder := filepath.Join(dir, fmt.Sprint("http2-", version.http2))
		s := s
		if s.profiles != "" {
			s.profiles = filepath.Join(s.profiles, filepath.Base(folder))
		}
		bare, err := blockRun(ctx, binary, folder, version.http2, s)
		if err != nil {
			return fmt.Errorf("%s: blocking handler: %w", version.name, err)
		}
		gateway, err := gatewayRun(ctx, binary, folder, version.http2, s)
		if err != nil {
			return fmt.Errorf("%s: gateway: %w", version.name, err)
		}
		missed = append(missed, report(w, version.name, gateway, bare))
	}
	err = w.Flush()
	if err != nil || !s.check {
		return err
	}
	return errors.Join(missed...)
}

// report prints the lines of one version of HTTP, and returns what is beyond its
// bound.
func report(w *tabwriter.Writer, version string, gateway, bare *measured) error {
	grown := float64(gateway.perHeld) / float64(bare.perHeld)
	fmt.Fprintf(w, "\t%s, memory for each, with garbage\t%.1f KiB\t%.1f KiB\t%.2f\t\t\n", version, kib(gateway.perHeld), kib(bare.perHeld), grown)
	memory := float64(gateway.inUse) / float64(bare.inUse)
	fmt.Fprintf(w, "\t%s, memory for each\t%.1f KiB\t%.1f KiB\t%.2f\t%.2f\t\n", version, kib(gateway.inUse), kib(bare.inUse), memory, mostMemory)
	fmt.Fprintf(w, "\t%s, of that heap + stacks\t%.1f + %.1f KiB\t%.1f + %.1f KiB\t\t\t\n", version, kib(gateway.heap), kib(gateway.stacks), kib(bare.heap), kib(bare.stacks))
	fmt.Fprintf(w, "\t%s, goroutines for each\t%.1f\t%.1f\t\t\t\n", version, gateway.goroutines, bare.goroutines)
	var missed []error
	if memory > mostMemory {
		missed = append(missed, fmt.Errorf("%s: memory for each held request", version))
	}
	if len(gateway.delays) > 0 {
		middle, worst := gateway.delays[len(gateway.delays)/2], gateway.delays[len(gateway.delays)*99/100]
		fmt.Fprintf(w, "\t%s, one approval to upstream, median (p99)\t%.1f ms (%.1f ms)\t\t\t%.0f ms\t\n", version, ms(middle), ms(worst), ms(mostDelay))
		if middle > mostDelay {
			missed = append(missed, fmt.Errorf("%s: time from an approval to the upstream", version))
		}
	}
	fmt.Fprintf(w, "\t%s, released together\t%.0f/s\t%.0f/s\t%.2f\t\t\n", version, gateway.released, bare.released, gateway.released/bare.released)
	fmt.Fprintf(w, "\t%s, its processor time for each of these\t%d µs\t%d µs\t%.2f\t\t\n", version, gateway.cpu.Microseconds(), bare.cpu.Microseconds(), float64(gateway.cpu)/float64(bare.cpu))
	fmt.Fprintf(w, "\t%s, connections to upstream\t%d\t%d\t\t%d\t\n", version, gateway.conns, bare.conns, upstreamConns)
	return errors.Join(missed...)
}

func kib(bytes int64) float64 { return float64(bytes) / 1024 }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
