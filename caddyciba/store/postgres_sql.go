package store

import (
	"github.com/jackc/pgx/v5"
)

// All names are bytea: an id is bytes, is compared and ordered as bytes, and
// must not be refused by the encoding of a database. In every statement $1 is
// the skew of the clock, $2 the kind and, but for the list, $3 the id.
const (
	sqlNow  = `(floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint + $1::bigint)`
	sqlLive = `(r.expires = 0 OR r.expires > ` + sqlNow + `)`

	// sqlEntries brings the index entries of the record that "put" has
	// written in line with $5 and $6. The record is written under its lock
	// first; that makes the rest of the statement the only one at work on it.
	sqlEntries = `
, gone AS (
	DELETE FROM ciba_index_entries e USING put
	WHERE e.kind = $2 AND e.id = $3
	AND NOT EXISTS (SELECT FROM unnest($5::bytea[], $6::bytea[]) AS n (name, value) WHERE n.name = e.name AND n.value = e.value)
)
, added AS (
	INSERT INTO ciba_index_entries (kind, name, value, id)
	SELECT $2, n.name, n.value, $3 FROM put, unnest($5::bytea[], $6::bytea[]) AS n (name, value)
	ON CONFLICT DO NOTHING
)`

	// sqlCreate returns whether the record was created.
	sqlCreate = `
WITH put AS (
	INSERT INTO ciba_records AS r (kind, id, version, expires, index_names, index_values, data)
	VALUES ($2, $3, 1, $4, $5, $6, $7)
	ON CONFLICT (kind, id) DO UPDATE
	SET version = 1, expires = excluded.expires, index_names = excluded.index_names,
		index_values = excluded.index_values, data = excluded.data
	WHERE NOT ` + sqlLive + `
	RETURNING 1
)` + sqlEntries + `
SELECT EXISTS (SELECT FROM put)`

	// sqlUpdate and sqlDelete return whether they did it, whether there was a
	// record, and its index entries before.
	//
	// They find the record that the statement's snapshot shows, and if another
	// writer has it, wait and look at the version again. One that still fits
	// is the one of the snapshot, so "old" belongs to it.
	sqlUpdate = `
WITH old AS (
	SELECT r.index_names, r.index_values FROM ciba_records r
	WHERE r.kind = $2 AND r.id = $3 AND ` + sqlLive + `
), put AS (
	UPDATE ciba_records r
	SET version = r.version + 1, expires = $4, index_names = $5, index_values = $6, data = $7
	WHERE r.kind = $2 AND r.id = $3 AND r.version = $8 AND ` + sqlLive + `
	RETURNING 1
)` + sqlEntries + `
SELECT EXISTS (SELECT FROM put), EXISTS (SELECT FROM old), (SELECT index_names FROM old), (SELECT index_values FROM old)`

	// The index entries go with the record by their foreign key.
	sqlDelete = `
WITH gone AS (
	DELETE FROM ciba_records r
	WHERE r.kind = $2 AND r.id = $3 AND ($4::bigint = 0 OR r.version = $4) AND ` + sqlLive + `
	RETURNING r.index_names, r.index_values
)
SELECT EXISTS (SELECT FROM gone), EXISTS (SELECT FROM ciba_records r WHERE r.kind = $2 AND r.id = $3 AND ` + sqlLive + `),
	(SELECT index_names FROM gone), (SELECT index_values FROM gone)`

	sqlColumns = `r.id, r.version, r.expires, r.index_names, r.index_values, r.data`

	sqlGet = `SELECT ` + sqlColumns + ` FROM ciba_records r WHERE r.kind = $2 AND r.id = $3 AND ` + sqlLive

	// An entry can be left over when two nodes create over an expired record
	// at once, so the record itself has the last word.
	sqlList = `
SELECT ` + sqlColumns + `
FROM ciba_index_entries e JOIN ciba_records r ON r.kind = e.kind AND r.id = e.id
WHERE e.kind = $2 AND e.name = $3 AND e.value = $4 AND e.id > $5 AND ` + sqlLive + `
AND EXISTS (SELECT FROM unnest(r.index_names, r.index_values) AS n (name, value) WHERE n.name = $3 AND n.value = $4)
ORDER BY e.id
LIMIT $6`

	// Rows that another node sweeps, or that are just being created anew, are
	// left to it.
	sqlSweep = `
WITH due AS MATERIALIZED (
	SELECT r.kind, r.id FROM ciba_records r
	WHERE r.expires <> 0 AND r.expires <= ` + sqlNow + `
	ORDER BY r.expires
	LIMIT $2
	FOR UPDATE SKIP LOCKED
)
DELETE FROM ciba_records d USING due WHERE d.kind = due.kind AND d.id = due.id`

	sqlReadOnly = `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool`

	// A server or role may have been set to other defaults. Conflicts are told
	// apart by what READ COMMITTED does, and a write that has returned is
	// durable; stronger settings than "on" are kept.
	sqlSession = `
SELECT set_config('default_transaction_isolation', 'read committed', false),
	set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)`
)

// scanRecord reads the columns of sqlColumns.
func scanRecord(kind string) pgx.RowToFunc[*Record] {
	return func(row pgx.CollectableRow) (*Record, error) {
		var id, data []byte
		var version, expires int64
		var names, values [][]byte
		err := row.Scan(&id, &version, &expires, &names, &values, &data)
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			data = nil
		}
		return &Record{
			Kind: kind, ID: string(id), Version: uint64(version), Data: data,
			Indexes: joinIndexes(names, values), Expires: fromMillis(expires),
		}, nil
	}
}

// scanChange reads the answer to an update or delete.
func scanChange(row pgx.Row) (before []Index, err error) {
	var done, found bool
	var names, values [][]byte
	err = row.Scan(&done, &found, &names, &values)
	switch {
	case err != nil:
		return nil, err
	case done:
		return joinIndexes(names, values), nil
	case found:
		return nil, ErrConflict
	default:
		return nil, ErrNotFound
	}
}

func splitIndexes(indexes []Index) (names, values [][]byte) {
	names, values = make([][]byte, len(indexes)), make([][]byte, len(indexes))
	for i, x := range indexes {
		names[i], values[i] = []byte(x.Name), []byte(x.Value)
	}
	return names, values
}

func joinIndexes(names, values [][]byte) []Index {
	if len(names) == 0 || len(names) != len(values) {
		return nil
	}
	indexes := make([]Index, len(names))
	for i := range names {
		indexes[i] = Index{Name: string(names[i]), Value: string(values[i])}
	}
	return indexes
}
