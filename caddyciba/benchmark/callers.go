package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// callers hold requests at a side.
type callers struct {
	client *http.Client
	done   sync.WaitGroup

	mu     sync.Mutex
	failed []error
}

func newCallers(http2 bool) *callers {
	transport := &http.Transport{MaxIdleConnsPerHost: -1}
	if http2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	return &callers{client: &http.Client{Transport: transport}}
}

// customer names the n-th customer.
func customer(group string, n int) string { return fmt.Sprint(group, n) }

// transfer is JSON of one KiB.
func transfer() io.Reader {
	const head, tail = `{"amount":"1.00","currency":"EUR","reference":"`, `"}`
	return strings.NewReader(head + strings.Repeat("x", 1024-len(head)-len(tail)) + tail)
}

// call sends the request of the n-th customer of a group and waits for its answer.
// The callers seem to come from many addresses, since what one of them may hold is
// limited.
func (c *callers) call(ctx context.Context, s *side, group string, n int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/%d/transfers", s.url, n%gates), transfer())
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(customerHeader, customer(group, n))
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("10.0.0.%d", 1+n/150%250))
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s: %s", res.Status, data)
	}
	return err
}

// begin sends the requests of a group, some at a time, and does not wait for their
// answers.
func (c *callers) begin(ctx context.Context, s *side, group string, count int) {
	for n := range count {
		c.done.Go(func() {
			err := c.call(ctx, s, group, n)
			if err != nil {
				c.mu.Lock()
				c.failed = append(c.failed, err)
				c.mu.Unlock()
			}
		})
		if n%25 == 24 {
			time.Sleep(10 * time.Millisecond) // the side shall not be flooded
		}
	}
}

// failures returns what has failed so far.
func (c *callers) failures() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d requests failed, the first one: %w", len(c.failed), c.failed[0])
}

// finish waits for all answers.
func (c *callers) finish() error {
	c.done.Wait()
	c.client.CloseIdleConnections()
	return c.failures()
}

// settle waits until a number has come to what is wanted, and stays there.
func settle(ctx context.Context, what string, wanted int, number func() int, failed func() error) error {
	deadline := time.Now().Add(2 * time.Minute)
	for number() < wanted {
		err := errors.Join(failed(), ctx.Err())
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for %s: %d of %d", what, number(), wanted)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}
