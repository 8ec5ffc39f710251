package store

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Defaults of PostgresOptions.
const (
	DefaultPostgresTimeout       = 10 * time.Second
	DefaultPostgresConns         = 16
	DefaultPostgresSweepInterval = 30 * time.Second
)

// PostgresOptions configure a PostgreSQL store. The zero value is ready for use.
type PostgresOptions struct {
	// MaxConns is how many connections the store opens at most, apart from the
	// one on which it listens. Default: pool_max_conns of the connection
	// string, or DefaultPostgresConns.
	MaxConns int

	// Timeout bounds each call whose context does not end earlier, waiting for
	// a connection included. Default: DefaultPostgresTimeout.
	Timeout time.Duration

	// SweepInterval is how often expired records are removed. Nodes that share
	// a database share the work. Default: DefaultPostgresSweepInterval.
	SweepInterval time.Duration
}

// Postgres is a store in a PostgreSQL database (version 12 or later) that any
// number of nodes share. Records expire by the clock of the database.
//
// While the database is away, calls return errors; the store works again by
// itself when it is back, or when another server has taken over under the same
// name or as another host of the connection string.
type Postgres struct {
	pool    *pgxpool.Pool
	timeout time.Duration
	watches watches
	news    *postgresNews

	// skew is added to the database's clock, in milliseconds. Only tests move
	// time by it.
	skew atomic.Int64

	// Calls hold mu for reading, Close for writing, so that Close waits for
	// the calls that have begun.
	mu     sync.RWMutex
	closed bool

	stop       context.CancelFunc // ends the background work
	background sync.WaitGroup
}

// OpenPostgres connects to the database and makes its tables if they are not
// there. For that the role needs the right to create tables in the first
// schema of its search path; once they exist, the right to select, insert,
// update and delete is enough.
//
// The connection string is a URL or a list of keywords and values as libpq
// takes them, for example "postgres://ciba@db.example.com/ciba?sslmode=verify-full".
// With several hosts, add target_session_attrs=read-write. A connection pooler
// in between must pool by session: in transaction mode watches would miss what
// other nodes write.
//
// Errors never contain the connection string.
func OpenPostgres(ctx context.Context, connString string, o PostgresOptions) (*Postgres, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultPostgresTimeout
	}
	if o.SweepInterval <= 0 {
		o.SweepInterval = DefaultPostgresSweepInterval
	}
	config, err := postgresConfig(connString, o.MaxConns)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, explainPostgres("opening", err)
	}
	err = prepareSchema(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, explainPostgres("opening", err)
	}
	p := &Postgres{pool: pool, timeout: o.Timeout, news: newPostgresNews()}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	p.background.Go(func() { p.tell(run) })
	p.background.Go(func() { p.listen(run) })
	p.background.Go(func() { p.sweep(run, o.SweepInterval) })
	return p, nil
}

// Create implements [Store].
func (p *Postgres) Create(ctx context.Context, r *Record) error {
	err := checkRecord(r)
	if err != nil {
		return err
	}
	indexes := uniqueIndexes(r.Indexes)
	names, values := splitIndexes(indexes)
	err = p.do(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		var created bool
		err := conn.QueryRow(ctx, sqlCreate, p.skew.Load(), []byte(r.Kind), []byte(r.ID),
			toMillis(r.Expires), names, values, notNull(r.Data)).Scan(&created)
		if err == nil && !created {
			return ErrExists
		}
		return err
	})
	if err != nil {
		return err
	}
	r.Version = 1
	p.changed(r.Kind, r.ID, nil, indexes)
	return nil
}

// Get implements [Store].
func (p *Postgres) Get(ctx context.Context, kind, id string) (*Record, error) {
	err := checkKey(kind, id)
	if err != nil {
		return nil, err
	}
	var r *Record
	err = p.do(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, sqlGet, p.skew.Load(), []byte(kind), []byte(id))
		if err != nil {
			return err
		}
		r, err = pgx.CollectExactlyOneRow(rows, scanRecord(kind))
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Update implements [Store].
func (p *Postgres) Update(ctx context.Context, r *Record) error {
	err := checkRecord(r)
	if err != nil {
		return err
	}
	indexes := uniqueIndexes(r.Indexes)
	names, values := splitIndexes(indexes)
	var before []Index
	err = p.do(ctx, func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		before, err = scanChange(conn.QueryRow(ctx, sqlUpdate, p.skew.Load(), []byte(r.Kind), []byte(r.ID),
			toMillis(r.Expires), names, values, notNull(r.Data), storedVersion(r.Version)))
		return err
	})
	if err != nil {
		return err
	}
	r.Version++
	p.changed(r.Kind, r.ID, before, indexes)
	return nil
}

// Delete implements [Store].
func (p *Postgres) Delete(ctx context.Context, kind, id string, version uint64) error {
	err := checkKey(kind, id)
	if err != nil {
		return err
	}
	var before []Index
	err = p.do(ctx, func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		before, err = scanChange(conn.QueryRow(ctx, sqlDelete, p.skew.Load(), []byte(kind), []byte(id), storedVersion(version)))
		return err
	})
	if err != nil {
		return err
	}
	p.changed(kind, id, before, nil)
	return nil
}

// List implements [Store].
func (p *Postgres) List(ctx context.Context, kind string, index Index, after string, limit int) ([]*Record, error) {
	err := checkList(kind, index, after, limit)
	if err != nil {
		return nil, err
	}
	var page []*Record
	err = p.do(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, sqlList, p.skew.Load(), []byte(kind), []byte(index.Name), []byte(index.Value), []byte(after), limit)
		if err != nil {
			return err
		}
		page, err = pgx.CollectRows(rows, scanRecord(kind))
		return err
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// Watch implements [Store].
func (p *Postgres) Watch(kind, id string) (<-chan struct{}, func()) {
	return p.watches.add(recordWatch(kind, id))
}

// WatchIndex implements [Store].
func (p *Postgres) WatchIndex(kind string, index Index) (<-chan struct{}, func()) {
	return p.watches.add(indexWatch(kind, index))
}

// Ping implements [Store]. It fails on a server that takes no writes, such as
// a standby, and looks for another one next time.
func (p *Postgres) Ping(ctx context.Context) error {
	return p.do(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		var readOnly bool
		err := conn.QueryRow(ctx, sqlReadOnly).Scan(&readOnly)
		if err == nil && readOnly {
			return errReadOnly
		}
		return err
	})
}

// Close implements [Store]. It waits for the calls that have begun, and for a
// short while for the other nodes to be told of the last changes.
func (p *Postgres) Close() error {
	p.mu.Lock()
	wasClosed := p.closed
	p.closed = true
	p.mu.Unlock()
	if wasClosed {
		return nil
	}
	p.stop()
	p.background.Wait()
	p.pool.Close()
	p.watches.close()
	return nil
}

// changed wakes the watchers of this node at once and has the others told.
func (p *Postgres) changed(kind, id string, before, after []Index) {
	p.watches.changed(kind, id, before, after)
	p.news.add(kind, id, before, after)
}

// storedVersion is a version as the database compares it. Versions beyond its
// numbers were never stored, so they match none.
func storedVersion(version uint64) int64 {
	if version > math.MaxInt64 {
		return -1
	}
	return int64(version)
}

// notNull keeps empty data from becoming NULL.
func notNull(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

var _ Store = (*Postgres)(nil)
