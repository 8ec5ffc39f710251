package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// teller is a program of the bank's front office: an ordinary HTTP client with
// a name and a password, which knows nothing of approvals.
type teller struct {
	gateway  string
	user     string
	password string
	http     *http.Client
}

// answer is what the teller got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// order is a transfer as a teller's program writes it.
type order struct {
	Debtor    debtor      `json:"debtor"`
	Creditor  creditor    `json:"creditor"`
	Amount    json.Number `json:"amount"`
	Currency  string      `json:"currency"`
	Reference string      `json:"reference"`
}

type debtor struct {
	CustomerID string `json:"customer_id"`
}

type creditor struct {
	Name string `json:"name"`
	IBAN string `json:"iban"`
}

// newOrder is a payment of the demo customer to the demo shop.
func newOrder(amount, reference string) order {
	return order{
		Debtor:    debtor{CustomerID: customerUser},
		Creditor:  creditor{Name: "Blue Bikes Ltd", IBAN: "GB33BUKB20201555555555"},
		Amount:    json.Number(amount),
		Currency:  "EUR",
		Reference: reference,
	}
}

// body writes the order as JSON.
func (o order) body() string {
	b, err := json.Marshal(o)
	if err != nil {
		// An amount that is no number is kept out by newOrder's callers.
		return ""
	}
	return string(b)
}

// message is what the customer must be shown for the order.
func (o order) message() string {
	return fmt.Sprintf("Pay %s %s to %s", o.Amount, o.Currency, o.Creditor.Name)
}

func newTeller(gateway string) *teller {
	return &teller{
		gateway:  gateway,
		user:     tellerUser,
		password: tellerPassword,
		http:     &http.Client{Transport: &http.Transport{}, Timeout: 3 * time.Minute},
	}
}

// do sends a request, with a body as JSON, and waits for the answer, however long
// a customer takes. The target is sent as it is written. The headers come in
// pairs of name and value.
func (t *teller) do(ctx context.Context, method, path, body string, headers ...string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, t.gateway, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.URL.Opaque = path // sent as it is written, also when it is not canonical
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	req.SetBasicAuth(t.user, t.password)
	resp, err := t.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: read}, nil
}

// problem is what the gateway says of a request that it did not let through
// (RFC 9457).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	Status    int    `json:"status"`
	State     string `json:"state"`
	Forwarded any    `json:"forwarded"`
}

// problem reads the answer as one. The name is the last part of its type.
func (a *answer) problem() (name string, p problem, err error) {
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		return "", p, fmt.Errorf("status %d has Content-Type %q, not application/problem+json", a.status, got)
	}
	err = json.Unmarshal(a.body, &p)
	if err != nil {
		return "", p, fmt.Errorf("reading the problem: %w", err)
	}
	name = p.Type[strings.LastIndexAny(p.Type, "/:#")+1:]
	return name, p, nil
}
