package approval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/factor"
)

// maxSessions bounds how many sessions of a customer are listed.
const maxSessions = 100

// sessionRow is one place where the customer is signed in.
type sessionRow struct {
	ID      string // of the record, which is no secret
	Device  string
	Source  string
	Began   moment
	Seen    moment
	Current bool
}

// sessionsOf returns the sessions of a customer that have not ended, the one used
// last in front.
func (a *App) sessionsOf(ctx context.Context, subject string) ([]*session, error) {
	records, err := a.cfg.Store.List(ctx, sessionKind, store.Index{Name: sessionSubject, Value: subject}, "", maxSessions)
	if err != nil {
		return nil, fmt.Errorf("listing sessions: %w", err)
	}
	now := a.cfg.Now()
	var all []*session
	for _, record := range records {
		s := &session{record: record}
		err = json.Unmarshal(record.Data, &s.data)
		if err != nil {
			return nil, fmt.Errorf("decoding a session: %w", err)
		}
		if now.Before(a.expiry(s.data)) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b *session) int { return b.data.Seen.Compare(a.data.Seen) })
	return all, nil
}

// sessionRows prepares the sessions for the page, the current one in front.
func (a *App) sessionRows(ctx context.Context, l *locale, current *session) ([]sessionRow, error) {
	all, err := a.sessionsOf(ctx, current.data.Subject)
	if err != nil {
		return nil, err
	}
	now := a.cfg.Now()
	var rows []sessionRow
	for _, s := range all {
		row := sessionRow{
			ID: s.record.ID, Device: s.data.Device, Source: s.data.Source, Current: s.record.ID == current.record.ID,
			Began: l.moment(s.data.Created, now, a.cfg.Location), Seen: l.moment(s.data.Seen, now, a.cfg.Location),
		}
		if row.Current {
			rows = slices.Insert(rows, 0, row)
			continue
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// endOtherSession ends one session of the customer.
func (a *App) endOtherSession(r *http.Request, s *session, _ *factor.Account) error {
	all, err := a.sessionsOf(r.Context(), s.data.Subject)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.record.ID == r.PostForm.Get("id") {
			return a.deleteSession(r.Context(), other)
		}
	}
	return factor.ErrNotFound
}

// endOtherSessions ends all sessions of the customer but this one.
func (a *App) endOtherSessions(r *http.Request, s *session, _ *factor.Account) error {
	_, err := a.endSessionsBut(r.Context(), s.data.Subject, s.record.ID)
	return err
}

// EndSessions signs a customer out everywhere, and returns how many sessions that
// were.
func (a *App) EndSessions(ctx context.Context, subject string) (int, error) {
	return a.endSessionsBut(ctx, subject, "")
}

// CountSessions returns in how many browsers a customer is signed in, up to 100.
func (a *App) CountSessions(ctx context.Context, subject string) (int, error) {
	all, err := a.sessionsOf(ctx, subject)
	return len(all), err
}

func (a *App) endSessionsBut(ctx context.Context, subject, keep string) (int, error) {
	ended := 0
	for {
		all, err := a.sessionsOf(ctx, subject)
		if err != nil {
			return ended, err
		}
		before := ended
		for _, other := range all {
			if other.record.ID == keep {
				continue
			}
			err = a.deleteSession(ctx, other)
			if err != nil {
				return ended, err
			}
			ended++
		}
		// A full page may not have been all of them.
		if len(all) < maxSessions || ended == before {
			return ended, nil
		}
	}
}

func (a *App) deleteSession(ctx context.Context, s *session) error {
	err := a.cfg.Store.Delete(ctx, sessionKind, s.record.ID, 0)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}
