//go:build unix

package caddystore

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/storetest"
)

const postgresSecret = "s3cr3t"

// The connection string comes from a placeholder, and then is nowhere to be
// seen.
func TestPostgresKeepsSecrets(t *testing.T) {
	connString := "postgres://ciba:" + postgresSecret + "@127.0.0.1:1/ciba?sslmode=disable"
	t.Setenv("CIBA_TEST_DATABASE", connString)
	file := filepath.Join(t.TempDir(), "database")
	err := os.WriteFile(file, []byte(connString+"\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, placeholder := range []string{"{env.CIBA_TEST_DATABASE}", "{file." + file + "}"} {
		raw, err := adapt("postgres " + placeholder)
		if err != nil {
			t.Fatal(err)
		}
		if want := `{"connection_string":"` + placeholder + `","engine":"postgres"}`; string(raw) != want {
			t.Errorf("adapted to %s, want %s", raw, want)
		}
		engine, err := load(t, string(raw))
		if err != nil {
			t.Fatal(err)
		}
		_, err = engine.Open(t.Context())
		if err == nil {
			t.Fatal("opened a database that is not there")
		}
		// Caddy writes modules to its debug log, and to whoever asks the admin
		// API for the config, as JSON.
		shown, jsonErr := json.Marshal(engine)
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		for _, text := range []string{engine.Key(), err.Error(), string(shown)} {
			if strings.Contains(text, postgresSecret) {
				t.Errorf("the secret shows in %q", text)
			}
		}
		keys = append(keys, engine.Key())
	}
	// The same database is the same store, wherever its address came from.
	if keys[0] != keys[1] {
		t.Errorf("keys differ: %q", keys)
	}
	other, err := load(t, `{"engine":"postgres","connection_string":"{env.CIBA_TEST_DATABASE}","max_connections":5}`)
	if err != nil {
		t.Fatal(err)
	}
	if other.Key() == keys[0] {
		t.Error("different options have the same key")
	}
}

func TestPostgresErrors(t *testing.T) {
	for input, want := range map[string]string{
		"postgres":                                                  "requires a connection string",
		"postgres a b":                                              "wrong argument count",
		"postgres a {\n\tconnection_string b\n}":                    "connection_string already specified, at Testfile:2",
		"postgres a {\n\tmax_connections\n}":                        "wrong argument count",
		"postgres a {\n\tmax_connections zero\n}":                   "invalid number of connections 'zero'",
		"postgres a {\n\tmax_connections 0\n}":                      "invalid number of connections '0'",
		"postgres a {\n\tmax_connections 5\n\tmax_connections 6\n}": "max_connections already specified: 5",
		"postgres a {\n\tpath b\n}":                                 "unrecognized subdirective 'path'",
	} {
		_, err := adapt(input)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want %q", input, err, want)
		}
	}
	for raw, want := range map[string]string{
		`{"engine":"postgres"}`: "requires a connection string",
		`{"engine":"postgres","connection_string":"{env.CIBA_TEST_UNSET}"}`:                                       "resolving connection string",
		`{"engine":"postgres","connection_string":"postgres://a:` + postgresSecret + `@host:port/db"}`:            "invalid connection string",
		`{"engine":"postgres","connection_string":"postgres://host/db","max_connections":-1}`:                     "negative",
		`{"engine":"postgres","connection_string":"postgres://host/db?sslmode=verify-full&sslrootcert=/no/such"}`: "/no/such",
	} {
		_, err := load(t, raw)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), postgresSecret) {
			t.Errorf("%s: got error %v, want %q", raw, err, want)
		}
	}
}

func TestPasswordInConfig(t *testing.T) {
	for connString, want := range map[string]bool{
		"postgres://ciba@host/db":                  false,
		"postgres://ciba:{env.PASSWORD}@host/db":   false,
		"host=a password={env.PASSWORD} dbname=db": false,
		"{env.DATABASE_URL}":                       false,
		"postgres://ciba:x@host/db":                true,
		"host=a password=x dbname=db":              true,
		"postgres://host/db?user=u&password=x":     true,
	} {
		if got := hasPassword(connString); got != want {
			t.Errorf("hasPassword(%q) = %v", connString, got)
		}
	}
}

// The store opens through a handle when the server comes, and not before.
func TestPostgresOpens(t *testing.T) {
	server := storetest.StartPostgres(t, "fsync=off")
	engine, err := load(t, `{"engine":"postgres","connection_string":"`+server.Database(t)+`","max_connections":3}`)
	if err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	h := acquireT(t, engine)
	err = h.Ping(t.Context())
	if err == nil {
		t.Fatal("Ping succeeded without a server")
	}
	server.Start(t)
	r := &store.Record{Kind: "k", ID: "a"}
	ctx, cancel := context.WithTimeout(t.Context(), openTimeout)
	defer cancel()
	for err != nil && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond) // the failure stands for a while
		err = h.Create(ctx, r)
	}
	if err != nil {
		t.Errorf("after the server has come: %v", err)
	}
}
