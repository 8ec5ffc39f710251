//go:build unix

package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// requirePostgres is the environment variable that makes a missing PostgreSQL
// a failure instead of a reason to skip. Continuous integration sets it to 1.
const requirePostgres = "CIBA_REQUIRE_POSTGRES"

// PostgresServer is a PostgreSQL server of a test's own, with its data in a
// temporary directory and reached by a Unix socket there.
type PostgresServer struct {
	bin, dir   string
	credential *syscall.Credential
	settings   []string
	process    *exec.Cmd
	lifeline   io.Closer
	log        bytes.Buffer
	databases  atomic.Int32
}

// StartPostgres starts a server that is stopped when the test ends. Without
// the programs of PostgreSQL the test is skipped, or fails if the environment
// variable CIBA_REQUIRE_POSTGRES is 1. The settings are like "fsync=off".
func StartPostgres(t testing.TB, settings ...string) *PostgresServer {
	t.Helper()
	bin, err := findPostgres()
	if err != nil && os.Getenv(requirePostgres) == "1" {
		t.Fatalf("PostgreSQL is required here: %v", err)
	}
	if err != nil {
		t.Skipf("no PostgreSQL to test with: %v", err)
	}
	// The path of a Unix socket must be short, which t.TempDir is not.
	dir, err := os.MkdirTemp("", "ciba-pg")
	if err != nil {
		t.Fatal(err)
	}
	s := &PostgresServer{bin: bin, dir: dir, settings: settings}
	t.Cleanup(func() {
		s.Stop(t)
		err := os.RemoveAll(dir)
		if err != nil {
			t.Error(err)
		}
	})
	s.credential, err = unprivileged(dir)
	if err != nil {
		t.Fatalf("finding a user to run PostgreSQL as: %v", err)
	}
	initdb := s.command(s.program("initdb"), "--pgdata="+s.data(), "--username=ciba", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	out, err := initdb.CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.Start(t)
	return s
}

// findPostgres returns the directory of the server's programs, which Debian
// keeps off the search path.
func findPostgres() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err == nil && len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// unprivileged returns a user to run the server as and gives it the directory,
// since the server refuses to run as root.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, int(uid), int(gid))
}

func (s *PostgresServer) data() string { return filepath.Join(s.dir, "data") }

func (s *PostgresServer) program(name string) string { return filepath.Join(s.bin, name) }

// lifeline is a script that runs a program until its input ends, so that the
// server does not outlive a test that is killed.
const lifeline = `"$@" & read -r _; kill -QUIT $!; wait $!`

func (s *PostgresServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	return cmd
}

// Start starts a server that was stopped and waits until it answers.
func (s *PostgresServer) Start(t testing.TB) {
	t.Helper()
	args := []string{"-c", lifeline, "sh", s.program("postgres"), "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=200"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.log.Reset()
	s.process = s.command("/bin/sh", args...)
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	var err error
	s.lifeline, err = s.process.StdinPipe()
	if err == nil {
		err = s.process.Start()
	}
	if err != nil {
		s.process = nil
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	deadline := time.Now().Add(60 * time.Second)
	for {
		err = s.exec("postgres", "SELECT 1")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Stop(t)
			t.Fatalf("PostgreSQL does not answer: %v\n%s", err, s.log.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Stop stops the server as a crash would: clients are cut off in the midst of
// what they do. Stopping it again does nothing.
func (s *PostgresServer) Stop(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	err := s.lifeline.Close()
	if err != nil {
		t.Errorf("stopping PostgreSQL: %v", err)
	}
	_ = s.process.Wait() // says that it was told to quit
	s.process = nil
}

// Database makes an empty database and returns its connection string.
func (s *PostgresServer) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	return s.connString(name)
}

// Exec runs SQL in the named database, as an administrator would.
func (s *PostgresServer) Exec(t testing.TB, database, sql string) {
	t.Helper()
	err := s.exec(database, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (s *PostgresServer) exec(database, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.connString(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

func (s *PostgresServer) connString(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("ciba"), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}
