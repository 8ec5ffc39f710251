package notice

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// round tries the channels, reports how each attempt has ended, and notes what is
// left to do.
func (q *Queue) round(ctx context.Context, e *entry, r Round) {
	at := q.cfg.Now().Add(firstRetry << (e.data.Attempts - 1))
	last := e.data.Attempts >= Attempts || !at.Before(e.notice.Expires) || e.record == nil
	again := make([]string, 0, len(r.Channels))
	try := q.together
	if r.UntilReached {
		try = q.oneByOne
	}
	for i, outcome := range try(ctx, e, r.Channels, last) {
		if outcome == Retried {
			again = append(again, r.Channels[i].Key)
		}
	}
	if e.record == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := q.note(ctx, e, again, at.UnixMilli())
	if err != nil {
		q.cfg.Logger.Error("noting how a notification was sent", zap.String("request", e.notice.Request), zap.Error(err))
	}
}

// note writes down which channels are tried again and when, or that nothing is left.
func (q *Queue) note(ctx context.Context, e *entry, again []string, next int64) error {
	if len(again) == 0 {
		return q.drop(ctx, e)
	}
	e.data.Left, e.data.Next = again, next
	mine, err := q.update(ctx, e)
	if err != nil || !mine {
		return err
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// together begins with all channels, in their order, and waits for them.
func (q *Queue) together(ctx context.Context, e *entry, channels []Channel, last bool) []Outcome {
	outcomes := make([]Outcome, len(channels))
	var calls sync.WaitGroup
	for i, channel := range channels {
		calls.Go(func() {
			err := q.call(ctx, channel)
			outcomes[i] = outcome(err, last)
			q.report(e, channel, outcomes[i], err)
		})
	}
	calls.Wait()
	return outcomes
}

// oneByOne tries one channel after the other until one succeeds. The outcomes are
// of those that were tried.
func (q *Queue) oneByOne(ctx context.Context, e *entry, channels []Channel, last bool) []Outcome {
	var results []error
	for _, channel := range channels {
		err := q.call(ctx, channel)
		results = append(results, err)
		if err == nil {
			last = true // nothing else needs to be tried again
			break
		}
	}
	outcomes := make([]Outcome, len(results))
	for i, err := range results {
		outcomes[i] = outcome(err, last)
		q.report(e, channels[i], outcomes[i], err)
	}
	return outcomes
}

// outcome is what an attempt comes to that has returned err.
func outcome(err error, last bool) Outcome {
	switch {
	case err == nil:
		return Sent
	case errors.Is(err, ErrNoAddress):
		return Skipped
	case last || IsPermanent(err):
		return Failed
	default:
		return Retried
	}
}

func (q *Queue) report(e *entry, c Channel, o Outcome, err error) {
	q.cfg.Report(Report{Notice: e.notice, Channel: c.Key, Attempt: e.data.Attempts, Outcome: o, Err: err})
}

// call makes one attempt.
func (q *Queue) call(ctx context.Context, c Channel) (err error) {
	release, ok := q.slot(c.Key)
	if !ok {
		return errBusy
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	// What a panic says may repeat what is in a request.
	defer func() {
		value := recover()
		if value != nil {
			err = Permanent(fmt.Errorf("the channel has panicked (%T)", value))
		}
	}()
	return c.Send(ctx)
}
