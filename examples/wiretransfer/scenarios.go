package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyciba/gateway/examples/wiretransfer/bank"
)

const transfers = "/v1/transfers"

// scenarios are played in this order.
func scenarios() []scenario {
	return []scenario{
		{"Approve", "The customer approves, and the teller gets the bank's own answer.", approve},
		{"Deny", "The customer denies. The bank sees nothing.", deny},
		{"Expire", "The customer does not react in time, and then it is too late.", expire},
		{"Hang up", "The teller hangs up while the customer is thinking. Nothing is sent later.", hangUp},
		{"Twice", "A program sends the same transfer twice at once. The customer is asked once.", twice},
		{"Unreadable", "Requests that two readers could read differently are refused, and nobody is asked.", unreadable},
		{"Stranger", "The bank's customer cannot be asked, as the provider does not know them.", stranger},
		{"Identity", "The customer withholds a permission, and the bank sees it in the token.", identity},
	}
}

func approve(ctx context.Context, s *stage) error {
	err := s.customer.signIn(ctx, customerUser, customerPassword)
	if err != nil {
		return err
	}
	s.say("customer", "signs in")
	o := newOrder("250.00", "Invoice 4711")
	s.say("teller", "sends %s %s to %s", o.Amount, o.Currency, o.Creditor.Name)
	h := s.send(ctx, "POST", transfers, o.body())
	p, err := s.ask(ctx, o.message())
	if err != nil {
		return err
	}
	_, err = s.customer.decide(ctx, p, decisionApprove)
	if err != nil {
		return fmt.Errorf("approving: %w", err)
	}
	s.say("customer", "approves")
	s.expect(o)
	return s.booked(ctx, h)
}

func deny(ctx context.Context, s *stage) error {
	o := newOrder("999.99", "Invoice 4712")
	s.say("teller", "sends %s %s to %s", o.Amount, o.Currency, o.Creditor.Name)
	h := s.send(ctx, "POST", transfers, o.body())
	p, err := s.ask(ctx, o.message())
	if err != nil {
		return err
	}
	_, err = s.customer.decide(ctx, p, decisionDeny)
	if err != nil {
		return fmt.Errorf("denying: %w", err)
	}
	s.say("customer", "denies")
	return s.refused(ctx, h, http.StatusForbidden, "approval-denied")
}

func expire(ctx context.Context, s *stage) error {
	o := newOrder("75.50", "Invoice 4713")
	s.say("teller", "sends %s %s to %s, at once or never", o.Amount, o.Currency, o.Creditor.Name)
	h := s.send(ctx, "POST", "/v1/instant-transfers", o.body())
	p, err := s.ask(ctx, o.message()+" at once")
	if err != nil {
		return err
	}
	err = s.refused(ctx, h, http.StatusForbidden, "approval-expired")
	if err != nil {
		return err
	}
	return s.tooLate(ctx, p)
}

func hangUp(ctx context.Context, s *stage) error {
	o := newOrder("120.00", "Invoice 4714")
	s.say("teller", "sends %s %s to %s", o.Amount, o.Currency, o.Creditor.Name)
	calling, leave := context.WithCancel(ctx)
	defer leave()
	h := s.send(calling, "POST", transfers, o.body())
	p, err := s.ask(ctx, o.message())
	if err != nil {
		return err
	}
	leave()
	<-h.done
	if !errors.Is(h.err, context.Canceled) {
		return fmt.Errorf("the teller hung up and still got an answer: %v", h.err)
	}
	s.say("teller", "hangs up")
	return s.tooLate(ctx, p)
}

// tooLate lets the customer approve when nobody waits any more, and watches
// whether anything reaches the bank.
func (s *stage) tooLate(ctx context.Context, p *page) error {
	_, err := s.customer.decide(ctx, p, decisionApprove)
	var refusal *refusedError
	switch {
	case err == nil:
		s.say("customer", "approves what nobody waits for any more")
	case errors.As(err, &refusal):
		s.say("customer", "cannot approve any more: the app says %q", refusal.page.heading)
	default:
		return fmt.Errorf("approving too late: %w", err)
	}
	// Two polling intervals: what was going to be sent is sent by then.
	err = sleep(ctx, 2*time.Second)
	if err != nil {
		return err
	}
	err = s.checkLedger(ctx)
	if err != nil {
		return err
	}
	s.say("bank", "has seen nothing of it")
	return nil
}

func twice(ctx context.Context, s *stage) error {
	o := newOrder("33.00", "Invoice 4715")
	s.say("teller", "sends %s %s to %s, twice", o.Amount, o.Currency, o.Creditor.Name)
	both := []*held{s.send(ctx, "POST", transfers, o.body()), s.send(ctx, "POST", transfers, o.body())}
	p, err := s.ask(ctx, o.message())
	if err != nil {
		return err
	}
	_, err = s.customer.decide(ctx, p, decisionApprove)
	if err != nil {
		return fmt.Errorf("approving: %w", err)
	}
	s.say("customer", "approves")
	s.expect(o)
	var got []string
	for _, h := range both {
		a, err := h.wait(ctx)
		if err != nil {
			return err
		}
		text, err := s.describe(a)
		if err != nil {
			return err
		}
		s.say("teller", "gets %s", text)
		got = append(got, text)
	}
	slices.Sort(got)
	if !strings.HasPrefix(got[0], "201 ") || got[1] != "409 identical-request-pending" {
		return errors.New("one request must be answered by the bank, and the other one be told about it")
	}
	links, err := s.customer.pending(ctx)
	if err != nil {
		return err
	}
	if len(links) != 0 {
		return fmt.Errorf("the customer was asked %d times more", len(links))
	}
	s.say("customer", "was asked once")
	return nil
}

func unreadable(ctx context.Context, s *stage) error {
	good := newOrder("10.00", "Invoice 4716").body()
	cases := []struct {
		what, method, path, body string
		headers                  []string
		status                   int
	}{
		{"a field twice", "POST", transfers, strings.Replace(good, `"amount":10.00`, `"amount":10.00,"amount":9999.00`, 1), nil, 422},
		{"a field in two cases", "POST", transfers, strings.Replace(good, `"amount":10.00`, `"amount":10.00,"Amount":9999.00`, 1), nil, 422},
		{"text behind the end", "POST", transfers, good + good, nil, 422},
		{"no JSON", "POST", transfers, "amount=10.00", nil, 422},
		{"a field missing", "POST", transfers, strings.Replace(good, `"amount":10.00,`, "", 1), nil, 422},
		{"a compressed body", "POST", transfers, good, []string{"Content-Encoding", "gzip"}, 415},
		{"a body that is too large", "POST", transfers, good + strings.Repeat(" ", 64<<10), nil, 413},
		{"a path with a detour", "POST", "/v1/x/../transfers", good, nil, 400},
		{"a path with a backslash", "POST", `/v1\transfers`, good, nil, 400},
		{"a path with a parameter", "POST", "/v1/transfers;x=1", good, nil, 400},
		{"an encoded slash", "POST", "/v1%2Ftransfers", good, nil, 400},
		{"a method in lower case", "post", transfers, good, nil, 400},
		{"an overridden method", "POST", transfers, good, []string{"X-HTTP-Method-Override", "PUT"}, 400},
	}
	for _, c := range cases {
		a, err := s.teller.do(ctx, c.method, c.path, c.body, c.headers...)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		if a.status != c.status {
			return fmt.Errorf("%s: got %d, not %d: %s", c.what, a.status, c.status, a.body)
		}
		name, _, err := a.problem()
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		s.say("teller", "sends %-26s gets %d %s", c.what, a.status, name)
	}
	links, err := s.customer.pending(ctx)
	if err != nil {
		return err
	}
	if len(links) != 0 {
		return fmt.Errorf("the customer was asked %d times", len(links))
	}
	s.say("customer", "was asked nothing")
	return nil
}

func stranger(ctx context.Context, s *stage) error {
	o := newOrder("5.00", "Invoice 4717")
	o.Debtor.CustomerID = "nobody"
	s.say("teller", "sends %s %s for a customer whom the provider does not know", o.Amount, o.Currency)
	return s.refused(ctx, s.send(ctx, "POST", transfers, o.body()), http.StatusForbidden, "approval-unavailable")
}

func identity(ctx context.Context, s *stage) error {
	s.say("teller", "asks the bank on whose behalf it works")
	h := s.send(ctx, "GET", "/identity?customer="+customerUser, "")
	p, err := s.ask(ctx, "Let the front office see who you are")
	if err != nil {
		return err
	}
	_, err = s.customer.decide(ctx, p, decisionApprove, "profile")
	if err != nil {
		return fmt.Errorf("approving: %w", err)
	}
	s.say("customer", "unticks the permission profile and approves")
	a, err := h.wait(ctx)
	if err != nil {
		return err
	}
	var claims struct {
		Subject string `json:"sub"`
		Scope   string `json:"scope"`
	}
	err = json.Unmarshal(a.body, &claims)
	if err != nil || a.status != http.StatusOK {
		return fmt.Errorf("the bank answered %d: %s", a.status, a.body)
	}
	s.say("teller", "gets 200, and the token's claims: sub %q, scope %q", claims.Subject, claims.Scope)
	if claims.Subject != customerUser || slices.Contains(strings.Fields(claims.Scope), "profile") {
		return errors.New("the token does not say what the customer granted")
	}
	return nil
}

// booked waits for the bank's own answer to a transfer.
func (s *stage) booked(ctx context.Context, h *held) error {
	a, err := h.wait(ctx)
	if err != nil {
		return err
	}
	text, err := s.describe(a)
	if err != nil {
		return err
	}
	s.say("teller", "gets %s", text)
	if a.status != http.StatusCreated {
		return fmt.Errorf("the answer is not the bank's: %s", a.body)
	}
	return nil
}

// refused waits for an answer of the gateway's own.
func (s *stage) refused(ctx context.Context, h *held, status int, name string) error {
	a, err := h.wait(ctx)
	if err != nil {
		return err
	}
	got, p, err := a.problem()
	if err != nil {
		return err
	}
	s.say("teller", "gets %d %s: %s", a.status, got, p.Title)
	if a.status != status || got != name {
		return fmt.Errorf("the answer is not %d %s: %s", status, name, a.body)
	}
	if p.Forwarded != false {
		return fmt.Errorf("the answer does not say that nothing was forwarded: %s", a.body)
	}
	return nil
}

// describe says in a few words what an answer is.
func (s *stage) describe(a *answer) (string, error) {
	if a.status >= 400 {
		name, _, err := a.problem()
		return fmt.Sprintf("%d %s", a.status, name), err
	}
	var t bank.Transfer
	err := json.Unmarshal(a.body, &t)
	if err != nil {
		return "", fmt.Errorf("reading the bank's answer: %w", err)
	}
	return fmt.Sprintf("%d %s: %s %s", a.status, http.StatusText(a.status), t.ID, t.Status), nil
}

// sleep waits, or ends with the context.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
