package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// readOnlyTransaction is the SQLSTATE of a server that takes no writes.
const readOnlyTransaction = "25006"

// sweepLimit is how many expired records one statement removes.
const sweepLimit = 500

var (
	errConnString = errors.New(`invalid connection string: expected postgres://user:password@host/database, with special characters in the password percent-encoded, or "host=... user=... dbname=..."`)
	errReadOnly   = errors.New("the server takes no writes")
)

// CheckPostgres reports whether a connection string can be understood, and the
// files that it names can be read, without connecting anywhere. Like those of
// OpenPostgres, its errors never contain the connection string.
func CheckPostgres(connString string) error {
	_, err := postgresConfig(connString, 0)
	return err
}

func postgresConfig(connString string, maxConns int) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(connString)
	if err != nil {
		// The error may quote the password. A file that cannot be read, such
		// as a certificate, is all that can be told.
		var file *fs.PathError
		if errors.As(err, &file) {
			return nil, fmt.Errorf("opening PostgreSQL store: %w", file)
		}
		return nil, fmt.Errorf("opening PostgreSQL store: %w", errConnString)
	}
	switch {
	case maxConns > 0:
		config.MaxConns = int32(min(maxConns, 10_000))
	case !strings.Contains(connString, "pool_max_conns"):
		config.MaxConns = DefaultPostgresConns
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "caddy ciba"
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sqlSession)
		return err
	}
	return config, nil
}

// do runs one statement on a connection.
func (p *Postgres) do(ctx context.Context, statement func(context.Context, *pgxpool.Conn) error) error {
	err := live(ctx)
	if err != nil {
		return err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	err = p.onConn(ctx, statement)
	if err != nil && pgconn.SafeToRetry(err) && ctx.Err() == nil {
		// Nothing was sent: the server had closed the connection while it lay
		// in the pool.
		err = p.onConn(ctx, statement)
	}
	var refused *pgconn.PgError
	if errors.Is(err, errReadOnly) || errors.As(err, &refused) && refused.Code == readOnlyTransaction {
		// The server is no longer the primary. New connections find the one
		// that is.
		p.pool.Reset()
	}
	return explainPostgres("using", err)
}

func (p *Postgres) onConn(ctx context.Context, statement func(context.Context, *pgxpool.Conn) error) error {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return statement(ctx, conn)
}

// explainPostgres leaves the errors of the contract as they are.
func explainPostgres(doing string, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrExists), errors.Is(err, ErrConflict):
		return err
	default:
		return fmt.Errorf("%s PostgreSQL store: %w", doing, err)
	}
}

// sweep removes expired records now and then until the context ends. Failures
// are left to the next round: whoever uses the store meets them too.
func (p *Postgres) sweep(ctx context.Context, interval time.Duration) {
	for {
		// Nodes that were started together should not come together each time.
		pause := interval/2 + rand.N(interval)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		for p.sweepOnce(ctx) == sweepLimit {
		}
	}
}

func (p *Postgres) sweepOnce(ctx context.Context) int64 {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	tag, err := p.pool.Exec(ctx, sqlSweep, p.skew.Load(), sweepLimit)
	if err != nil {
		return 0
	}
	return tag.RowsAffected()
}
