package notice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// kind is the record kind of notifications in the store, and due the index
	// by which they are found.
	kind = "idp.notice"

	storeTimeout = 10 * time.Second
	batch        = 100
)

var due = store.Index{Name: "due"}

// entry is a notification that is not done yet.
type entry struct {
	notice Notice
	data   entryData
	record *store.Record // nil if it could not be written
}

// entryData is what the store keeps of an entry.
type entryData struct {
	Subject  string   `json:"subject"`
	Left     []string `json:"left"`     // keys of the channels that are still to be tried
	Attempts int      `json:"attempts"` // rounds that were begun
	Next     int64    `json:"next"`     // when the next one may begin, in milliseconds
}

// newEntry is an entry whose first round begins now.
func newEntry(n Notice, r Round, now time.Time) *entry {
	e := &entry{notice: n, data: entryData{Subject: n.Subject}}
	for _, channel := range r.Channels {
		e.data.Left = append(e.data.Left, channel.Key)
	}
	e.begin(now)
	return e
}

// begin counts a round, and gives it the time that it may take: until then others
// leave the entry alone, and after that they take it for orphaned.
func (e *entry) begin(now time.Time) {
	e.data.Attempts++
	e.data.Next = now.Add(time.Duration(len(e.data.Left))*Timeout + storeTimeout).UnixMilli()
}

// create writes an entry that is not there yet.
func (q *Queue) create(ctx context.Context, e *entry) error {
	e.record = &store.Record{Kind: kind, ID: e.notice.Request, Indexes: []store.Index{due}, Expires: e.notice.Expires}
	var err error
	e.record.Data, err = json.Marshal(e.data)
	if err != nil {
		return fmt.Errorf("encoding notification: %w", err)
	}
	return q.cfg.Store.Create(ctx, e.record)
}

// decode reads an entry from its record.
func decode(record *store.Record) (*entry, error) {
	e := &entry{record: record}
	err := json.Unmarshal(record.Data, &e.data)
	if err != nil {
		return nil, fmt.Errorf("decoding notification: %w", err)
	}
	e.notice = Notice{Request: record.ID, Subject: e.data.Subject, Expires: record.Expires}
	return e, nil
}

// update writes an entry back. It reports false if somebody else has it now.
func (q *Queue) update(ctx context.Context, e *entry) (bool, error) {
	var err error
	e.record.Data, err = json.Marshal(e.data)
	if err != nil {
		return false, fmt.Errorf("encoding notification: %w", err)
	}
	err = q.cfg.Store.Update(ctx, e.record)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// drop forgets an entry, unless somebody else has it now.
func (q *Queue) drop(ctx context.Context, e *entry) error {
	err := q.cfg.Store.Delete(ctx, kind, e.record.ID, e.record.Version)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// sweep begins a round for all that is due, and returns how long it is until
// something else will be.
func (q *Queue) sweep(ctx context.Context) time.Duration {
	next, after := lookEvery, ""
	for {
		records, err := q.cfg.Store.List(ctx, kind, due, after, batch)
		if err != nil {
			if ctx.Err() == nil {
				q.cfg.Logger.Error("looking for notifications to send", zap.Error(err))
			}
			return lookEvery
		}
		for _, record := range records {
			after = record.ID
			e, err := decode(record)
			if err != nil {
				q.cfg.Logger.Error("leaving out a notification that cannot be read", zap.String("request", record.ID), zap.Error(err))
				continue
			}
			wait := time.UnixMilli(e.data.Next).Sub(q.cfg.Now())
			if wait > 0 {
				next = min(next, wait)
				continue
			}
			err = q.take(ctx, e)
			if err != nil && ctx.Err() == nil {
				q.cfg.Logger.Error("taking up a notification", zap.String("request", record.ID), zap.Error(err))
			}
		}
		if len(records) < batch {
			return next
		}
	}
}

// take claims an entry that is due, by one conditional write, and begins its round.
func (q *Queue) take(ctx context.Context, e *entry) error {
	e.begin(q.cfg.Now())
	mine, err := q.update(ctx, e)
	if err != nil || !mine {
		return err
	}
	r, waits, err := q.cfg.Open(ctx, e.notice)
	if err != nil {
		return err
	}
	r.Channels = slices.DeleteFunc(slices.Clone(r.Channels), func(c Channel) bool { return !slices.Contains(e.data.Left, c.Key) })
	if !waits || len(r.Channels) == 0 || e.data.Attempts > Attempts {
		return q.drop(ctx, e)
	}
	q.start(func() { q.round(context.WithoutCancel(ctx), e, r) })
	return nil
}
