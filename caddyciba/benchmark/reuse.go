package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

const (
	// leastRate is the bound that -check enforces: how many requests that an earlier
	// approval covers are served for each one of a bare proxy.
	leastRate = 0.93

	// reuseCallers send requests at a time, one after the other.
	reuseCallers = 16

	coveredToken = "Bearer token-of-" + coveredCaller
	ownToken     = "Bearer of the caller's own"
)

// coveredCaller has approved.
const coveredCaller = "anna"

// covered is what one round of one side has come to.
type covered struct {
	rate float64       // requests a second
	cpu  time.Duration // processor time of the side for each request
}

// reuseRun compares requests that an earlier approval covers with those of a bare
// proxy, in rounds that take turns.
func reuseRun(ctx context.Context, binary, dir string, s settings) error {
	u, err := startBank()
	if err != nil {
		return err
	}
	defer u.stop()
	p, err := startProvider(deliverPoll, 1)
	if err != nil {
		return err
	}
	defer p.stop()
	proxy := "\tbenchmark_caller\n" + proxyTo(u.address)
	bare, err := startSide(ctx, "bare", binary, dir, "", "", proxy)
	if err != nil {
		return err
	}
	defer bare.stop()
	global := fmt.Sprintf("\tciba {\n\t\tstore bolt %s\n\t\tprovider gate {\n\t\t\tissuer %s\n\t\t\tclient_id gate\n\t\t\tclient_secret {env.BENCH_SECRET}\n\t\t\tlong_poll 30s\n\t\t}\n\t}\n",
		filepath.Join(dir, "reuse.db"), p.issuer)
	gateway, err := startSide(ctx, "reuse", binary, dir, "", global, "\tciba /transfers* gate {\n\t\treuse 1h\n\t}\n"+proxy)
	if err != nil {
		return err
	}
	defer gateway.stop()
	err = approveAll(ctx, p, gateway)
	if err != nil {
		return err
	}
	var rounds [2][]covered
	for n := range s.rounds + 1 {
		for turn := range 2 {
			which := (n + turn) % 2
			round, err := u.round(ctx, []*side{bare, gateway}[which], []string{ownToken, coveredToken}[which], s.round)
			if err != nil {
				return err
			}
			if n > 0 { // the first one warms up
				rounds[which] = append(rounds[which], round)
			}
		}
	}
	return reportReuse(rounds[0], rounds[1], s.check)
}

// approveAll has the one customer approve all requests that follow.
func approveAll(ctx context.Context, p *provider, gateway *side) error {
	answered := make(chan error, 1)
	go func() { answered <- callCovered(ctx, http.DefaultClient, gateway) }()
	err := settle(ctx, "the customer to be asked", 1, p.asked, func() error { return nil })
	if err != nil {
		return err
	}
	err = p.approve(ctx, gateway.url, coveredCaller)
	if err != nil {
		return err
	}
	return <-answered
}

// callCovered sends one request and reads its answer.
func callCovered(ctx context.Context, client *http.Client, s *side) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/transfers/1", strings.NewReader(`{"amount":"1.00"}`))
	if err != nil {
		return err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {ownToken}, customerHeader: {coveredCaller}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s", res.Status)
	}
	return err
}

// bank is an upstream that counts what it gets by the token that comes with it.
type bank struct {
	address string
	server  *http.Server
	token   atomic.Pointer[string] // that is expected
	right   atomic.Int64
	wrong   atomic.Int64
}

func startBank() (*bank, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &bank{address: listener.Addr().String()}
	first := coveredToken
	b.token.Store(&first)
	b.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == *b.token.Load() {
			b.right.Add(1)
		} else {
			b.wrong.Add(1)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	})}
	go func() { _ = b.server.Serve(listener) }()
	return b, nil
}

func (b *bank) stop() { _ = b.server.Close() }

// round sends requests to one side for some time. Each must come with the token.
func (b *bank) round(ctx context.Context, s *side, token string, length time.Duration) (covered, error) {
	b.token.Store(&token)
	b.right.Store(0)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: reuseCallers}}
	defer client.CloseIdleConnections()
	before, err := s.cpu()
	if err != nil {
		return covered{}, err
	}
	began := time.Now()
	err = forEach(ctx, reuseCallers, reuseCallers, func(int) error {
		for time.Since(began) < length {
			err := callCovered(ctx, client, s)
			if err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(began)
	if err != nil {
		return covered{}, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := s.cpu()
	if err != nil {
		return covered{}, err
	}
	count := b.right.Load()
	if wrong := b.wrong.Load(); wrong > 0 || count == 0 {
		return covered{}, fmt.Errorf("%s: %d requests came with the right token, %d with another", s.name, count, wrong)
	}
	return covered{rate: float64(count) / took.Seconds(), cpu: (after - before) / time.Duration(count)}, nil
}

// reportReuse prints the medians, and the ratios of the rounds that stand side by
// side.
func reportReuse(bare, gateway []covered, check bool) error {
	var ratios []float64
	for i := range bare {
		ratios = append(ratios, gateway[i].rate/bare[i].rate)
	}
	slices.Sort(ratios)
	middle := ratios[len(ratios)/2]
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\t%d rounds\tcovered by an approval\tbare proxy\tratio (lowest-highest)\tbound\t\n", len(bare))
	fmt.Fprintf(w, "\trequests a second\t%.0f\t%.0f\t%.2f (%.2f-%.2f)\t%.2f\t\n", median(gateway, covered.perSecond), median(bare, covered.perSecond),
		middle, ratios[0], ratios[len(ratios)-1], leastRate)
	ours, theirs := median(gateway, covered.micros), median(bare, covered.micros)
	fmt.Fprintf(w, "\tprocessor time for each\t%.0f µs\t%.0f µs\t%.2f\t\t\n", ours, theirs, ours/theirs)
	err := w.Flush()
	if err == nil && check && middle < leastRate {
		err = errors.New("rate of requests that an earlier approval covers")
	}
	return err
}

func (c covered) perSecond() float64 { return c.rate }

func (c covered) micros() float64 { return float64(c.cpu.Nanoseconds()) / 1000 }

// median returns the median of one figure of all rounds.
func median(rounds []covered, figure func(covered) float64) float64 {
	var figures []float64
	for _, round := range rounds {
		figures = append(figures, figure(round))
	}
	slices.Sort(figures)
	return figures[len(figures)/2]
}
