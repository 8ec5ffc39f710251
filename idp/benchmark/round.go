package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const grantCIBA = "urn:openid:params:grant-type:ciba"

// round is what one side needed: CPU time per operation, and full flows a second.
type round struct {
	start, poll, approve, redeem time.Duration
	rate                         float64
}

func (r round) full() time.Duration { return r.start + r.poll + r.approve + r.redeem }

// round takes one set of requests through the operations, one operation after the
// other, and another set through all of them at once.
func (s *side) round(ctx context.Context, set settings) (round, error) {
	ids := make([]string, set.requests)
	var r round
	for _, step := range []struct {
		cost *time.Duration
		do   func(ctx context.Context, id *string) error
	}{
		{&r.start, func(ctx context.Context, id *string) error { return s.start(ctx, id, set.users) }},
		{&r.poll, s.pollPending},
		{&r.approve, s.approve},
		{&r.redeem, s.redeem},
	} {
		before, err := cpuTime(s.pid)
		if err != nil {
			return r, err
		}
		err = forEach(ctx, ids, set.workers, step.do)
		if err != nil {
			return r, err
		}
		after, err := cpuTime(s.pid)
		if err != nil {
			return r, err
		}
		*step.cost = (after - before) / time.Duration(set.requests)
	}
	began := time.Now()
	err := forEach(ctx, ids, set.workers, func(ctx context.Context, id *string) error {
		return errors.Join(s.start(ctx, id, set.users), s.pollPending(ctx, id), s.approve(ctx, id), s.redeem(ctx, id))
	})
	if err != nil {
		return r, err
	}
	r.rate = float64(set.requests) / time.Since(began).Seconds()
	return r, nil
}

// forEach does something with each id, several at a time, and stops at an error.
func forEach(ctx context.Context, ids []string, workers int, do func(context.Context, *string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(ids) {
					return
				}
				err := do(ctx, &ids[n])
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

func (s *side) start(ctx context.Context, id *string, users int) error {
	var answer struct {
		AuthReqID string `json:"auth_req_id"`
	}
	err := s.post(ctx, s.backchannel, url.Values{
		"scope":           {"openid"},
		"login_hint":      {"user" + strconv.FormatInt(s.asked.Add(1)%int64(users), 10)},
		"binding_message": {"Invoice 4711"},
	}, http.StatusOK, &answer)
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	*id = answer.AuthReqID
	return nil
}

func (s *side) pollPending(ctx context.Context, id *string) error {
	var answer struct {
		Error string `json:"error"`
	}
	err := s.post(ctx, s.token, url.Values{"grant_type": {grantCIBA}, "auth_req_id": {*id}}, http.StatusBadRequest, &answer)
	if err == nil && answer.Error != "authorization_pending" {
		err = fmt.Errorf("answered %q", answer.Error)
	}
	if err != nil {
		return fmt.Errorf("polling: %w", err)
	}
	return nil
}

func (s *side) approve(ctx context.Context, id *string) error {
	target := s.issuer + "/test/ciba-action?" + url.Values{"token": {*id}, "type": {"allow"}}.Encode()
	err := s.post(ctx, target, nil, http.StatusOK, &struct{}{})
	if err != nil {
		return fmt.Errorf("approving: %w", err)
	}
	return nil
}

func (s *side) redeem(ctx context.Context, id *string) error {
	var answer struct {
		IDToken string `json:"id_token"`
	}
	err := s.post(ctx, s.token, url.Values{"grant_type": {grantCIBA}, "auth_req_id": {*id}}, http.StatusOK, &answer)
	if err == nil && strings.Count(answer.IDToken, ".") != 2 {
		err = errors.New("answered without id_token")
	}
	if err != nil {
		return fmt.Errorf("redeeming: %w", err)
	}
	return nil
}

// post sends a form as the client and decodes the answer, whose status must be
// the expected one.
func (s *side) post(ctx context.Context, target string, form url.Values, status int, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(clientID, clientSecret)
	}
	return s.do(req, status, answer)
}

func (s *side) getJSON(ctx context.Context, target string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	return s.do(req, http.StatusOK, answer)
}

func (s *side) do(req *http.Request, status int, answer any) error {
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != status {
		return fmt.Errorf("answered %s: %s", res.Status, body)
	}
	return json.Unmarshal(body, answer)
}
