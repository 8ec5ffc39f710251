//go:build unix

package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/storetest"
)

func openPostgres(t testing.TB, connString string, o store.PostgresOptions) *store.Postgres {
	t.Helper()
	p, err := store.OpenPostgres(t.Context(), connString, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := p.Close()
		if err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

// TestPostgres runs all that needs a server, on one.
func TestPostgres(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after the server has ended
	// Nothing here pulls the plug, so the disk need not be waited for.
	server := storetest.StartPostgres(t, "fsync=off")

	t.Run("suite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) (store.Store, func(time.Duration)) {
			p := openPostgres(t, server.Database(t), store.PostgresOptions{SweepInterval: time.Millisecond})
			return p, p.MoveClock
		})
	})
	t.Run("shared suite", func(t *testing.T) {
		storetest.RunShared(t, func(t *testing.T) (a, b store.Store, advance func(time.Duration)) {
			database := server.Database(t)
			nodeA := openPostgres(t, database, store.PostgresOptions{SweepInterval: time.Millisecond})
			nodeB := openPostgres(t, database, store.PostgresOptions{SweepInterval: time.Millisecond})
			return nodeA, nodeB, func(d time.Duration) {
				nodeA.MoveClock(d)
				nodeB.MoveClock(d)
			}
		})
	})
	t.Run("restart", func(t *testing.T) { testPostgresRestart(t, server) })
	t.Run("start together", func(t *testing.T) { testPostgresStartTogether(t, server) })
	t.Run("rights", func(t *testing.T) { testPostgresRights(t, server) })
	t.Run("later schema", func(t *testing.T) { testPostgresLaterSchema(t, server) })
	t.Run("session", func(t *testing.T) { testPostgresSession(t, server) })
	t.Run("read-only", func(t *testing.T) { testPostgresReadOnly(t, server) })
	t.Run("sweep", func(t *testing.T) { testPostgresSweep(t, server) })
	t.Run("silence", func(t *testing.T) {
		err := openPostgres(t, server.Database(t), store.PostgresOptions{}).HearThroughSilence(t.Context())
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("locked row", func(t *testing.T) { testPostgresLockedRow(t, server) })
}

func BenchmarkPostgres(b *testing.B) {
	server := storetest.StartPostgres(b)
	benchmarkEngine(b, "postgres", func(b *testing.B) store.Store {
		p, err := store.OpenPostgres(b.Context(), server.Database(b), store.PostgresOptions{})
		if err != nil {
			b.Fatal(err)
		}
		return p
	})
}

// The server goes away and comes back; nobody opens the stores anew.
func testPostgresRestart(t *testing.T, server *storetest.PostgresServer) {
	database := server.Database(t)
	a := openPostgres(t, database, store.PostgresOptions{Timeout: 5 * time.Second})
	b := openPostgres(t, database, store.PostgresOptions{Timeout: 5 * time.Second})
	r := &store.Record{Kind: "k", ID: "a"}
	err := a.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	changes, stop := b.Watch("k", "a")
	defer stop()

	server.Stop(t)
	version := r.Version
	for what, call := range map[string]func() error{
		"Update": func() error { return a.Update(t.Context(), r) },
		"Get":    func() error { _, err := a.Get(t.Context(), "k", "a"); return err },
		"Ping":   func() error { return b.Ping(t.Context()) },
	} {
		err = call()
		if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrClosed) {
			t.Errorf("%s without a server: %v", what, err)
		}
	}
	if r.Version != version {
		t.Errorf("Update without a server set version %d", r.Version)
	}
	server.Start(t)

	// The first calls may still meet a dead connection; a fail-closed caller
	// bears that. Soon all is well without anybody's doing.
	eventually(t, "Ping", func() bool { return a.Ping(t.Context()) == nil && b.Ping(t.Context()) == nil })
	got, err := a.Get(t.Context(), "k", "a")
	if err != nil || got.Version != version {
		t.Fatalf("after the restart Get = %v, %v", got, err)
	}
	// What happened while a node could not listen wakes its watchers when it
	// can again, so they look for themselves.
	awake(t, changes)
	// And they hear of what happens from then on. Wake-ups that are still on
	// their way are no proof, so the watcher must be woken again and again.
	for range 5 {
		err = a.Update(t.Context(), got)
		if err != nil {
			t.Fatal(err)
		}
		awake(t, changes)
	}
}

// Nodes that start together on an empty database do not stumble over each
// other while they make the tables.
func testPostgresStartTogether(t *testing.T, server *storetest.PostgresServer) {
	database := server.Database(t)
	opened := make(chan error)
	for range 8 {
		go func() {
			p, err := store.OpenPostgres(t.Context(), database, store.PostgresOptions{MaxConns: 2})
			if err == nil {
				err = errors.Join(p.Ping(t.Context()), p.Close())
			}
			opened <- err
		}()
	}
	for range 8 {
		err := <-opened
		if err != nil {
			t.Error(err)
		}
	}
}

// Once the tables are there, a role without the right to make tables can use
// them, and one without any right gets a clear error.
func testPostgresRights(t *testing.T, server *storetest.PostgresServer) {
	database := server.Database(t)
	name := databaseName(database)
	server.Exec(t, name, "CREATE ROLE least LOGIN; CREATE ROLE nobody LOGIN")
	as := func(role string) string { return strings.Replace(database, "ciba@", role+"@", 1) }
	_, err := store.OpenPostgres(t.Context(), as("nobody"), store.PostgresOptions{})
	if err == nil || !strings.Contains(err.Error(), "creating tables") {
		t.Errorf("opening without rights: %v", err)
	}
	openPostgres(t, database, store.PostgresOptions{})
	server.Exec(t, name, "GRANT SELECT ON ciba_schema TO least; GRANT SELECT, INSERT, UPDATE, DELETE ON ciba_records, ciba_index_entries TO least")
	least := openPostgres(t, as("least"), store.PostgresOptions{})
	r := &store.Record{Kind: "k", ID: "a", Indexes: []store.Index{{Name: "n"}}}
	err = errors.Join(least.Create(t.Context(), r), least.Update(t.Context(), r), least.Delete(t.Context(), "k", "a", 0), least.Ping(t.Context()))
	if err != nil {
		t.Errorf("with the least rights: %v", err)
	}
	server.Exec(t, name, "DROP OWNED BY least; DROP ROLE least; DROP ROLE nobody")
}

func testPostgresLaterSchema(t *testing.T, server *storetest.PostgresServer) {
	database := server.Database(t)
	openPostgres(t, database, store.PostgresOptions{})
	server.Exec(t, databaseName(database), "UPDATE ciba_schema SET version = 99")
	_, err := store.OpenPostgres(t.Context(), database, store.PostgresOptions{})
	if err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("opening tables of a later version: %v", err)
	}
}

// Whatever the database's defaults are, a conflict is a conflict and a write
// is durable.
func testPostgresSession(t *testing.T, server *storetest.PostgresServer) {
	database := server.Database(t)
	name := databaseName(database)
	server.Exec(t, "postgres", "ALTER DATABASE "+name+" SET default_transaction_isolation = 'serializable'")
	server.Exec(t, "postgres", "ALTER DATABASE "+name+" SET synchronous_commit = 'off'")
	p := openPostgres(t, database, store.PostgresOptions{})
	for setting, want := range map[string]string{"transaction_isolation": "read committed", "synchronous_commit": "on"} {
		got, err := p.Setting(t.Context(), setting)
		if err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", setting, got, want, err)
		}
	}
	// A stronger setting stays.
	server.Exec(t, "postgres", "ALTER DATABASE "+name+" SET synchronous_commit = 'remote_apply'")
	got, err := openPostgres(t, database, store.PostgresOptions{}).Setting(t.Context(), "synchronous_commit")
	if err != nil || got != "remote_apply" {
		t.Errorf("synchronous_commit is %q, want remote_apply (%v)", got, err)
	}
}

// A server that takes no writes any more, as after a failover, fails the
// readiness check; new connections find the server that does.
func testPostgresReadOnly(t *testing.T, server *storetest.PostgresServer) {
	database := server.Database(t)
	name := databaseName(database)
	p := openPostgres(t, database, store.PostgresOptions{})
	err := p.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	p.ResetConns()
	for range 2 {
		err = p.Ping(t.Context())
		if err == nil || !strings.Contains(err.Error(), "takes no writes") {
			t.Errorf("Ping of a read-only server: %v", err)
		}
	}
	err = p.Create(t.Context(), &store.Record{Kind: "k", ID: "a"})
	if err == nil {
		t.Error("Create on a read-only server succeeded")
	}
	server.Exec(t, "postgres", "ALTER DATABASE "+name+" RESET default_transaction_read_only")
	err = p.Create(t.Context(), &store.Record{Kind: "k", ID: "a"})
	if err != nil {
		t.Errorf("after the failover, without anybody's doing: %v", err)
	}
}

func testPostgresSweep(t *testing.T, server *storetest.PostgresServer) {
	p := openPostgres(t, server.Database(t), store.PostgresOptions{SweepInterval: 10 * time.Millisecond})
	for _, id := range []string{"a", "b", "c"} {
		r := &store.Record{Kind: "k", ID: id, Indexes: []store.Index{{Name: "n", Value: "1"}}, Expires: time.Now().Add(time.Hour)}
		if id == "c" {
			r.Expires = time.Time{}
		}
		err := p.Create(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		// The entry that the record leaves goes, too.
		r.Indexes = []store.Index{{Name: "n", Value: "2"}}
		err = p.Update(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		records, entries, err := p.Rows(t.Context())
		if err != nil || records != entries {
			t.Fatalf("%d records with %d index entries, %v", records, entries, err)
		}
		return records
	}
	if got := count(); got != 3 {
		t.Errorf("%d records, want 3", got)
	}
	p.MoveClock(2 * time.Hour)
	eventually(t, "sweep", func() bool { return count() == 1 })
}

// A caller whose context ends while another session holds the row gets away,
// and so does one without a deadline when the store's own has passed.
func testPostgresLockedRow(t *testing.T, server *storetest.PostgresServer) {
	p := openPostgres(t, server.Database(t), store.PostgresOptions{Timeout: 2 * time.Second})
	r := &store.Record{Kind: "k", ID: "a"}
	err := p.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := p.LockTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for _, ctx := range []context.Context{ctx, t.Context()} {
		begin := time.Now()
		err = p.Update(ctx, r)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 30*time.Second || r.Version != 1 {
			t.Errorf("Update of a locked row: %v after %v, version %d", err, time.Since(begin), r.Version)
		}
	}
	unlock()
	eventually(t, "Get", func() bool { _, err := p.Get(t.Context(), "k", "a"); return err == nil })
}

// No error shows the password, however wrong the connection string is.
func TestPostgresErrorsKeepSecrets(t *testing.T) {
	const secret = "s3cr3t"
	for _, connString := range []string{
		"postgres://ciba:" + secret + "@[::1/ciba",
		"postgres://ciba:" + secret + "/x@localhost/ciba",
		"postgres://ciba:" + secret + " x@localhost/ciba",
		"postgres://ciba:%zz" + secret + "@localhost/ciba",
		"postgres://ciba:" + secret + "@localhost:port/ciba",
		"postgres://ciba:" + secret + "@localhost/ciba?sslmode=" + secret,
		"host=localhost password=" + secret + " port=many",
		"host=localhost password='" + secret,
		"password=" + secret + " =",
		"postgres://ciba:" + secret + "@127.0.0.1:1/ciba?sslmode=disable&connect_timeout=1",
		"postgres://ciba:" + secret + "@127.0.0.1:1/ciba?sslmode=verify-full&sslrootcert=/no/such/file.pem",
		secret,
	} {
		p, err := store.OpenPostgres(t.Context(), connString, store.PostgresOptions{Timeout: time.Second})
		if err == nil {
			p.Close()
			t.Errorf("%s was opened", connString)
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func databaseName(connString string) string {
	_, rest, _ := strings.Cut(connString, "@/")
	name, _, _ := strings.Cut(rest, "?")
	return name
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it did not happen", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func awake(t *testing.T, changes <-chan struct{}) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(20 * time.Second):
		t.Fatal("no wake-up")
	}
}
