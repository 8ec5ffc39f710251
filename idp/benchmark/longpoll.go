package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// holdBefore is how long a long poll is held before its customer approves.
const holdBefore = 20 * time.Millisecond

// decisions lets customers approve one after the other while a long poll waits, and
// returns how long each poll needed to bring the tokens, from when the approval was
// sent: the shortest first.
func (s *side) decisions(ctx context.Context, count, users int) ([]time.Duration, error) {
	var delays []time.Duration
	for range count {
		var id string
		err := s.start(ctx, &id, users)
		if err != nil {
			return nil, err
		}
		var answered time.Time
		polled := make(chan error, 1)
		go func() {
			err := s.longPoll(ctx, id)
			answered = time.Now()
			polled <- err
		}()
		select {
		case err = <-polled:
			return nil, errors.Join(errors.New("a long poll was not held"), err)
		case <-time.After(holdBefore):
		}
		approved := time.Now()
		err = errors.Join(s.approve(ctx, &id), <-polled)
		if err != nil {
			return nil, err
		}
		delays = append(delays, answered.Sub(approved))
	}
	slices.Sort(delays)
	return delays, nil
}

// longPoll polls until there are tokens (CIBA Core 1.0 section 10.1).
func (s *side) longPoll(ctx context.Context, id string) error {
	form := url.Values{"grant_type": {grantCIBA}, "auth_req_id": {id}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.token, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Prefer", "wait=20")
	req.SetBasicAuth(clientID, clientSecret)
	var answer struct {
		IDToken string `json:"id_token"`
	}
	err = s.do(req, http.StatusOK, &answer)
	if err == nil && answer.IDToken == "" {
		err = errors.New("answered without id_token")
	}
	if err != nil {
		return fmt.Errorf("polling: %w", err)
	}
	return nil
}
