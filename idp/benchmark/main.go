// Command benchmark measures the provider side by side with node oidc-provider, in
// one run and by turns, so that a busy machine slows both.
//
//	go run ./idp/benchmark
//
// Ours runs in Caddy on bbolt, where all but the notes of polls is on disk before it
// is answered, and with the limits of a provider whose approvals are tests; the peer keeps everything in a Map and has no
// limits. Both sign with ES256 and authenticate the client by client_secret_basic.
// Each round starts requests, polls each once while it is pending, approves each, and
// redeems each. What counts is CPU time of the process per operation, which the
// driver's share of the machine does not change, and the rate of full flows.
//
// At the end, ours alone answers long polls, which the peer does not know: measured
// is the time from when an approval is sent to when the held poll has the tokens.
//
// With -check the command fails if a median misses its floor.
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
	polls    int
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

// mostDelay is how long an approval may take to answer a long poll, in the median.
const mostDelay = 5 * time.Millisecond

func main() {
	var s settings
	flag.IntVar(&s.requests, "requests", 2000, "requests in each round and for each side")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds that count; one more warms up")
	flag.IntVar(&s.workers, "workers", 16, "requests on their way at a time")
	flag.IntVar(&s.users, "users", 5000, "customers, who are asked one after the other")
	flag.IntVar(&s.polls, "long-polls", 200, "approvals while a long poll is held")
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
	missed, err := report(results[ours], results[peer])
	if err != nil {
		return err
	}
	delays, err := ours.decisions(ctx, s.polls, s.users)
	if err != nil {
		return fmt.Errorf("long polls: %w", err)
	}
	missed += reportDelays(delays)
	if s.check && missed > 0 {
		return fmt.Errorf("%d floors missed", missed)
	}
	return nil
}

// reportDelays prints how long approvals took to answer long polls, and returns 1 if
// that is too long.
func reportDelays(delays []time.Duration) int {
	if len(delays) == 0 {
		return 0
	}
	middle, late := delays[len(delays)/2], delays[len(delays)*99/100]
	fmt.Printf("approval to answered long poll: median %.1f ms, p99 %.1f ms; at most %.0f ms in the median\n", ms(middle), ms(late), ms(mostDelay))
	if middle > mostDelay {
		return 1
	}
	return 0
}

// report prints the medians over all rounds, and the medians of the ratios within
// each round. It returns how many of them miss their floor.
func report(ours, peer []round) (missed int, err error) {
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\toperation\tours, CPU\tpeer, CPU\tpeer/ours (lowest-highest)\tfloor\t")
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
	return missed, w.Flush()
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

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

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
