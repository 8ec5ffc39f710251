package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/caddyciba/gateway/examples/wiretransfer/bank"
)

// scenario is one thing that can happen to a transfer.
type scenario struct {
	name, story string
	run         func(context.Context, *stage) error
}

// scenarioTime bounds one scenario; most take a second or two.
const scenarioTime = 30 * time.Second

// stage is what the scenarios play on. Everything on it works over HTTP.
type stage struct {
	places   places
	teller   *teller
	customer *customer
	bank     *http.Client
	approved []booking // what the ledger must show in the end, in this order

	mu    sync.Mutex // guards out and begin: two parts may speak at once
	out   io.Writer
	begin time.Time
}

// booking is what a customer approved: the order, and its bytes.
type booking struct {
	order order
	body  string
}

// play runs all scenarios and checks the ledger after each and at the end. Its
// error says which went wrong and how.
func play(ctx context.Context, p places, out io.Writer) error {
	s, err := newStage(p, out)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nWire transfer example, playing teller and customer over HTTP\n\n"+
		"  gateway     %s\n  provider    %s\n  bank        %s\n", p.gatewayURL(), p.providerURL(), p.bankURL())
	started := time.Now()
	all := scenarios()
	for i, sc := range all {
		fmt.Fprintf(out, "\n%d. %s\n   %s\n\n", i+1, sc.name, sc.story)
		err := s.perform(ctx, sc)
		if err != nil {
			fmt.Fprintf(out, "\n   failed: %v\n", err)
			return fmt.Errorf("scenario %d, %s: %w", i+1, sc.name, err)
		}
	}
	fmt.Fprintf(out, "\nThe ledger\n\n")
	err = s.showLedger(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nAll %d scenarios went as they must, in %.1f s. The ledger shows exactly what was approved.\n",
		len(all), time.Since(started).Seconds())
	return nil
}

// newStage sets up a teller and a customer who has not signed in.
func newStage(p places, out io.Writer) (*stage, error) {
	c, err := newCustomer(p.providerURL())
	if err != nil {
		return nil, err
	}
	return &stage{
		places:   p,
		teller:   newTeller(p.gatewayURL()),
		customer: c,
		bank:     &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second},
		out:      out,
		begin:    time.Now(),
	}, nil
}

// perform runs one scenario and then looks at the ledger.
func (s *stage) perform(ctx context.Context, sc scenario) error {
	ctx, cancel := context.WithTimeoutCause(ctx, scenarioTime, errors.New("the scenario took too long"))
	defer cancel()
	s.mu.Lock()
	s.begin = time.Now()
	s.mu.Unlock()
	err := sc.run(ctx, s)
	if err != nil {
		return err
	}
	return s.checkLedger(ctx)
}

// say prints a line of the transcript: when, who, and what.
func (s *stage) say(who, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "   %6.2f s  %-8s  %s\n", time.Since(s.begin).Seconds(), who, fmt.Sprintf(format, args...))
}

// held is a request that a teller has sent and that may be waiting.
type held struct {
	answer *answer
	err    error
	done   chan struct{}
}

// wait returns the answer when it is there.
func (h *held) wait(ctx context.Context) (*answer, error) {
	select {
	case <-h.done:
		return h.answer, h.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// send sends a request in the background.
func (s *stage) send(ctx context.Context, method, path, body string, headers ...string) *held {
	h := &held{done: make(chan struct{})}
	go func() {
		defer close(h.done)
		h.answer, h.err = s.teller.do(ctx, method, path, body, headers...)
	}()
	return h
}

// ask waits until the customer is asked to approve what the message says.
func (s *stage) ask(ctx context.Context, message string) (*page, error) {
	p, err := s.customer.find(ctx, message)
	if err != nil {
		return nil, err
	}
	s.say("customer", "is asked: %s", message)
	return p, nil
}

// expect notes that an order was approved and must be in the ledger.
func (s *stage) expect(o order) {
	s.approved = append(s.approved, booking{order: o, body: o.body()})
}

// ledger asks the bank itself, not the gateway, for everything it has booked.
func (s *stage) ledger(ctx context.Context) ([]bank.Transfer, error) {
	var list struct {
		Transfers []bank.Transfer `json:"transfers"`
	}
	err := s.askBank(ctx, "/v1/transfers", &list)
	return list.Transfers, err
}

func (s *stage) askBank(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, "GET", s.places.bankURL()+path, nil)
	if err != nil {
		return err
	}
	resp, err := s.bank.Do(req)
	if err != nil {
		return fmt.Errorf("asking the bank: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the bank: %s", resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
