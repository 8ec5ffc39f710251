package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schemaLock is the advisory lock under which the tables are made. Any number
// does that nobody else uses: this one spells "cibastor".
const schemaLock = 0x6369626173746f72

// migrations make the tables. What was released is never changed; a new
// version is appended, and must leave tables that the version before it, still
// running on other nodes, can use.
var migrations = []string{
	`
CREATE TABLE ciba_schema (version integer NOT NULL);
INSERT INTO ciba_schema VALUES (0);

CREATE TABLE ciba_records (
	kind         bytea   NOT NULL,
	id           bytea   NOT NULL,
	version      bigint  NOT NULL,
	expires      bigint  NOT NULL, -- in milliseconds since 1970; 0 is never
	index_names  bytea[] NOT NULL,
	index_values bytea[] NOT NULL,
	data         bytea   NOT NULL,
	PRIMARY KEY (kind, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX ciba_records_expires ON ciba_records (expires) WHERE expires <> 0;

CREATE TABLE ciba_index_entries (
	kind  bytea NOT NULL,
	name  bytea NOT NULL,
	value bytea NOT NULL,
	id    bytea NOT NULL,
	PRIMARY KEY (kind, name, value, id),
	FOREIGN KEY (kind, id) REFERENCES ciba_records ON DELETE CASCADE
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX ciba_index_entries_record ON ciba_index_entries (kind, id);
`,
}

// prepareSchema brings the tables up to date. It needs no right to create
// tables when there is nothing to do, and of nodes that start together lets
// one do it.
func prepareSchema(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	version, err := schemaVersion(ctx, conn)
	if err != nil {
		return fmt.Errorf("reading the version of the tables: %w", err)
	}
	if version == len(migrations) {
		return nil
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return migrate(ctx, tx) })
}

func migrate(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(schemaLock))
	if err != nil {
		return fmt.Errorf("waiting to create tables: %w", err)
	}
	version, err := schemaVersion(ctx, tx)
	if err != nil {
		return fmt.Errorf("reading the version of the tables: %w", err)
	}
	if version > len(migrations) {
		return fmt.Errorf("the tables have version %d, this program knows versions up to %d", version, len(migrations))
	}
	for _, sql := range migrations[version:] {
		_, err = tx.Exec(ctx, sql)
		if err != nil {
			return fmt.Errorf("creating tables: %w", err)
		}
	}
	_, err = tx.Exec(ctx, `UPDATE ciba_schema SET version = $1`, len(migrations))
	if err != nil {
		return fmt.Errorf("creating tables: %w", err)
	}
	return nil
}

// schemaVersion returns the version of the tables, 0 if there are none.
func schemaVersion(ctx context.Context, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}) (int, error) {
	// Not to_regclass: after the wait for the lock it can go on saying that
	// there is no such table, by the session's cache.
	var found bool
	err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'ciba_schema' AND pg_catalog.pg_table_is_visible(oid))`).Scan(&found)
	if err != nil || !found {
		return 0, err
	}
	var version int
	err = q.QueryRow(ctx, `SELECT version FROM ciba_schema`).Scan(&version)
	return version, err
}
