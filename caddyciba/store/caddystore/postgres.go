package caddystore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func init() {
	caddy.RegisterModule(Postgres{})
}

// Postgres keeps state in a PostgreSQL database, version 12 or later, which any
// number of Caddy nodes share: a request that one node holds can be approved
// on another. Tables whose names begin with `ciba_` are made when the database
// is used for the first time; for that the role needs the right to create
// tables, and afterwards the right to select, insert, update and delete.
//
// While the database is away, requests that need it are refused, and Caddy
// starts without it; all goes on by itself when it is back. Between Caddy and
// the database may be a connection pooler that pools by session, but not one
// that pools by transaction.
type Postgres struct {
	// ConnectionString says where the database is and how to sign in, as a URL
	// or as the keywords and values of libpq. Required. It contains a password
	// as a rule, so give it as a placeholder such as `{env.DATABASE_URL}` or
	// `{file./run/secrets/database}`, which is resolved when the config is
	// loaded and shows up in no log, error or admin API.
	ConnectionString string `json:"connection_string,omitempty"`

	// MaxConnections is how many connections each Caddy node opens at most,
	// besides one for listening. Default: `pool_max_conns` of the connection
	// string, or 16.
	MaxConnections int `json:"max_connections,omitempty"`

	connString string
}

// CaddyModule returns the Caddy module information.
func (Postgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ciba.stores.postgres",
		New: func() caddy.Module { return new(Postgres) },
	}
}

// Provision resolves the connection string. It does not connect.
func (p *Postgres) Provision(ctx caddy.Context) error {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(p.ConnectionString, true, true)
	if err != nil {
		return fmt.Errorf("resolving connection string of postgres store: %w", err)
	}
	// A file ends with a line break as a rule.
	p.connString = strings.TrimSpace(resolved)
	if hasPassword(p.ConnectionString) {
		ctx.Logger().Warn("the password of the postgres store stands in the config for all to see who can read it; give the connection string as a placeholder such as {env.DATABASE_URL}")
	}
	return nil
}

// Validate finds the mistakes that can be found without a network.
func (p *Postgres) Validate() error {
	if p.connString == "" {
		return fmt.Errorf("postgres store requires a connection string")
	}
	if p.MaxConnections < 0 {
		return fmt.Errorf("max_connections of postgres store is negative: %d", p.MaxConnections)
	}
	return store.CheckPostgres(p.connString)
}

// hasPassword reports whether a connection string, as it stands in the config,
// contains a password that is not a placeholder.
func hasPassword(connString string) bool {
	password := ""
	u, err := url.Parse(connString)
	if err == nil && u.User != nil {
		password, _ = u.User.Password()
	}
	_, after, found := strings.Cut(connString, "password=")
	if found {
		password = after
	}
	return password != "" && !strings.HasPrefix(password, "{")
}

// UnmarshalCaddyfile sets up the engine from Caddyfile tokens. Syntax:
//
//	postgres <connection_string> {
//		connection_string <connection_string>
//		max_connections   <number>
//	}
//
// The connection string is given in one of the two places.
func (p *Postgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume engine name
	if d.NextArg() {
		p.ConnectionString = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		option := d.Val()
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		switch option {
		case "connection_string":
			if p.ConnectionString != "" {
				// The one that was there first may be secret.
				return d.Err("connection_string already specified")
			}
			p.ConnectionString = value
		case "max_connections":
			if p.MaxConnections != 0 {
				return d.Errf("max_connections already specified: %d", p.MaxConnections)
			}
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return d.Errf("invalid number of connections '%s'", value)
			}
			p.MaxConnections = n
		default:
			return d.Errf("unrecognized subdirective '%s'", option)
		}
	}
	if p.ConnectionString == "" {
		return d.Err("postgres store requires a connection string")
	}
	return nil
}

// Key implements [Engine]. The connection string goes into it as a hash.
func (p *Postgres) Key() string {
	sum := sha256.Sum256([]byte(p.connString + "\x00" + strconv.Itoa(p.MaxConnections)))
	return "postgres\x00" + hex.EncodeToString(sum[:])
}

// Open implements [Engine].
func (p *Postgres) Open(ctx context.Context) (store.Store, error) {
	s, err := store.OpenPostgres(ctx, p.connString, store.PostgresOptions{MaxConns: p.MaxConnections})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Postgres)(nil)
	_ caddy.Validator       = (*Postgres)(nil)
	_ caddyfile.Unmarshaler = (*Postgres)(nil)
	_ Engine                = (*Postgres)(nil)
)
