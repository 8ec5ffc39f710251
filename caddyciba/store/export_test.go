package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Len counts the records in memory, expired ones included.
func (m *Memory) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.records)
}

// MoveClock moves the clock of this node's statements forward.
func (p *Postgres) MoveClock(d time.Duration) { p.skew.Add(d.Milliseconds()) }

// ResetConns makes the next calls connect anew.
func (p *Postgres) ResetConns() { p.pool.Reset() }

// Setting returns a setting of a session of the store.
func (p *Postgres) Setting(ctx context.Context, name string) (value string, err error) {
	err = p.pool.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&value)
	return value, err
}

// Rows counts the rows of both tables, expired ones included.
func (p *Postgres) Rows(ctx context.Context) (records, entries int, err error) {
	err = p.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM ciba_records), (SELECT count(*) FROM ciba_index_entries)`).Scan(&records, &entries)
	return records, entries, err
}

// LockTables keeps everybody else from writing until unlock is called.
func (p *Postgres) LockTables(ctx context.Context) (unlock func(), err error) {
	conn, err := pgx.ConnectConfig(ctx, p.pool.Config().ConnConfig)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `BEGIN; LOCK TABLE ciba_records IN EXCLUSIVE MODE`)
	return func() { conn.Close(ctx) }, err
}

// HearThroughSilence checks that a listener notices after a silence that its
// connection is alive, goes on to hear on it, and notices when it is dead.
func (p *Postgres) HearThroughSilence(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, p.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "LISTEN "+newsChannel)
	for range 3 {
		err = errors.Join(err, p.hear(ctx, conn, 5*time.Millisecond))
	}
	if err != nil {
		return fmt.Errorf("silence: %w", err)
	}
	_, err = p.pool.Exec(ctx, "SELECT pg_notify($1, 'other *')", newsChannel)
	err = errors.Join(err, p.hear(ctx, conn, time.Hour))
	if err != nil {
		return fmt.Errorf("after silence: %w", err)
	}
	_, err = p.pool.Exec(ctx, "SELECT pg_terminate_backend($1)", conn.PgConn().PID())
	if err != nil {
		return err
	}
	for range 2 { // the first may still hear something
		err = p.hear(ctx, conn, time.Hour)
	}
	if err == nil {
		return errors.New("a dead connection went unnoticed")
	}
	return nil
}
