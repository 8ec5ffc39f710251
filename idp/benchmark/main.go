// Command benchmark measures the provider side by side with node oidc-provider, in
// one run and by turns, so that a busy machine slows both.
//
//	go run ./idp/benchmark
//
// Ours runs in Caddy on bbolt, where every write is on disk before it counts, and
// with all limits at their defaults; the peer keeps everything in a Map and has no
// limits. Both sign with ES256 and authenticate the client by client_secret_basic.
// Each round starts requests, polls each once while it is pending, approves each, and
// redeems each. What counts is CPU time of the process per operation, which the
// driver's share of the machine does not change, and the rate of full flows.
//
// Node.js and npm are needed, and Linux, which tells the CPU time of a process.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

// settings are the command's flags.
type settings struct {
	requests int
	rounds   int
	workers  int
	users    int
	peerJWT  bool
	check    bool
}

// The floors that -check enforces: how much less CPU, and how much higher a rate.
const (
	floorStart = 4.0
	floorPoll  = 4.0
	floorFull  = 3.0
	floorRate  = 2.0
)

func main() {
	var s settings
	flag.IntVar(&s.requests, "requests", 2000, "requests in each round and for each side")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds that count; one more warms up")
	flag.IntVar(&s.workers, "workers", 16, "requests on their way at a time")
	flag.IntVar(&s.users, "users", 5000, "customers, who are asked one after the other")
	flag.BoolVar(&s.peerJWT, "peer-jwt", false, "let the peer sign its access tokens, too, as ours always are")
	flag.BoolVar(&s.check, "check", false, "fail if the provider misses its floors")
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
	dir, err := os.MkdirTemp("", "ciba-benchmark-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("building and starting both sides ...")
	ours, err := startCaddy(ctx, dir, s)
	if err != nil {
		return fmt.Errorf("starting ours: %w", err)
	}
	defer ours.stop()
	peer, err := startPeer(ctx, s)
	if err != nil {
		return fmt.Errorf("starting peer: %w", err)
	}
	defer peer.stop()

	sides := []*side{ours, peer}
	results := map[*side][]round{}
	for n := range s.rounds + 1 {
		// By turns, and not always the same one first.
		slices.Reverse(sides)
		for _, side := range sides {
			r, err := side.round(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			if n > 0 {
				results[side] = append(results[side], r)
			}
		}
		fmt.Printf("round %d of %d\n", n, s.rounds)
	}
	return report(results[ours], results[peer], s.check)
}

// report prints the medians over all rounds, and the medians of the ratios within
// each round.
func report(ours, peer []round, check bool) error {
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\toperation\tours, CPU\tpeer, CPU\tpeer/ours (lowest-highest)\tfloor\t")
	missed := 0
	for _, row := range []struct {
		name  string
		of    func(round) time.Duration
		floor float64
	}{
		{"start", func(r round) time.Duration { return r.start }, floorStart},
		{"pending poll", func(r round) time.Duration { return r.poll }, floorPoll},
		{"approve", func(r round) time.Duration { return r.approve }, 0},
		{"redeem", func(r round) time.Duration { return r.redeem }, 0},
		{"full flow", round.full, floorFull},
	} {
		ratio := ratios(ours, peer, func(o, p round) float64 { return float64(row.of(p)) / float64(row.of(o)) })
		missed += printRow(w, row.name, us(median(ours, row.of)), us(median(peer, row.of)), ratio, row.floor)
	}
	rate := func(r round) float64 { return r.rate }
	ratio := ratios(ours, peer, func(o, p round) float64 { return o.rate / p.rate })
	missed += printRow(w, "full flows per second", fmt.Sprintf("%.0f", median(ours, rate)), fmt.Sprintf("%.0f", median(peer, rate)), ratio, floorRate)
	err := w.Flush()
	if err != nil {
		return err
	}
	if check && missed > 0 {
		return fmt.Errorf("%d floors missed", missed)
	}
	return nil
}

// printRow prints one line and returns 1 if its floor was missed.
func printRow(w *tabwriter.Writer, name, ours, peer string, ratio []float64, floor float64) int {
	middle := ratio[len(ratio)/2]
	wanted := ""
	if floor > 0 {
		wanted = fmt.Sprintf("%.0f", floor)
	}
	fmt.Fprintf(w, "\t%s\t%s\t%s\t%.1f (%.1f-%.1f)\t%s\t\n", name, ours, peer, middle, ratio[0], ratio[len(ratio)-1], wanted)
	if middle < floor {
		return 1
	}
	return 0
}

func us(d time.Duration) string { return fmt.Sprintf("%d us", d.Microseconds()) }

// median returns the median of a figure over rounds.
func median[T time.Duration | float64](rounds []round, of func(round) T) T {
	values := make([]T, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// ratios returns the ratio of each round, lowest first.
func ratios(ours, peer []round, of func(o, p round) float64) []float64 {
	values := make([]float64, len(ours))
	for i := range ours {
		values[i] = of(ours[i], peer[i])
	}
	slices.Sort(values)
	return values
}
